"""What the plugin offers; each thing is imported when its hook is asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from git_theta.hookspecs import hookimpl

if TYPE_CHECKING:
    import click

    from git_theta.formats.interface import CheckpointFormat
    from git_theta.merges.interface import MergeStrategy
    from git_theta.serializers.interface import Serializer
    from git_theta.storage.interface import StoreType
    from git_theta.updates.interface import UpdateType


@hookimpl
def theta_checkpoint_formats() -> Iterable[CheckpointFormat]:
    """A format of one file, and one of two files."""
    from theta_toy.formats import Toy
    from theta_toy.parts import ToyParts

    return (Toy(), ToyParts())


@hookimpl
def theta_serializers() -> Iterable[Serializer]:
    """One serializer."""
    from theta_toy.serializers import Deflate

    return (Deflate(),)


@hookimpl
def theta_update_types() -> Iterable[UpdateType]:
    """One update type."""
    from theta_toy.updates import Xor

    return (Xor(),)


@hookimpl
def theta_stores() -> Iterable[StoreType]:
    """One type of store."""
    from theta_toy.stores import DatabaseType

    return (DatabaseType(),)


@hookimpl
def theta_merge_strategies() -> Iterable[MergeStrategy]:
    """One merge strategy."""
    from theta_toy.merges import LeftAlone

    return (LeftAlone(),)


@hookimpl
def theta_commands() -> Iterable[click.Command]:
    """One command."""
    from theta_toy.commands import greet

    return (greet,)
