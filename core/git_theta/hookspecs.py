"""Every hook that git-theta calls, and nothing else.

A plugin is a module (or any object) registered under the entry-point group ``git_theta`` that
implements some of these with ``@git_theta.hookspecs.hookimpl``. The kernel's builtins are
registered exactly the same way. All hooks are argument-less and return the objects that carry the
behaviour; a plugin that has nothing to offer for a hook leaves it out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click

    from git_theta.formats.interface import CheckpointFormat
    from git_theta.merges.interface import MergeStrategy
    from git_theta.serializers.interface import Serializer
    from git_theta.storage.interface import StoreType
    from git_theta.updates.interface import UpdateType

PROJECT = "git_theta"
"""pluggy's project name, and the entry-point group in which plugins are found."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

# ---- reading and writing checkpoints -------------------------------------------------------------


@hookspec
def theta_checkpoint_formats() -> Iterable[CheckpointFormat]:  # type: ignore[empty-body]
    """Formats in which parameter groups can be found.

    Called once by a process that has to look inside a file. Formats of plugins are asked before
    the builtin ones, so a plugin may know a special kind of a general container.
    """


# ---- storing -------------------------------------------------------------------------------------


@hookspec
def theta_serializers() -> Iterable[Serializer]:  # type: ignore[empty-body]
    """Serializers that turn blocks of numbers into bytes.

    Called once by a process that writes a pack, or reads one that names an unknown serializer.
    The kernel's own choice is ``planes``; another one is used for the parts of an update whose
    type names it.
    """


@hookspec
def theta_update_types() -> Iterable[UpdateType]:  # type: ignore[empty-body]
    """Update types that tell a buffer in fewer bytes, by itself or in terms of an earlier one.

    Called once by a process that writes a pack, or reads one that names an unknown update type.
    All are asked about a buffer; the shortest update that proves itself is stored.
    """


@hookspec
def theta_stores() -> Iterable[StoreType]:  # type: ignore[empty-body]
    """Kinds of stores, each found by the scheme of its URLs.

    Called once by a process that opens a store by URL: push, fetch, prune and what calls them.
    """


# ---- merging -------------------------------------------------------------------------------------


@hookspec
def theta_merge_strategies() -> Iterable[MergeStrategy]:  # type: ignore[empty-body]
    """Merge strategies, each found by its name.

    Called once by a process that lists what plugins offer; no command merges by them yet.
    """


# ---- the command line ----------------------------------------------------------------------------


@hookspec
def theta_commands() -> Iterable[click.Command]:  # type: ignore[empty-body]
    """Commands to add under ``git theta``.

    Called when a command is typed that the kernel does not have, and by ``git theta --help``.
    """
