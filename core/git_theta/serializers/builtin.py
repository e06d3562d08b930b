"""Registers the serializers that come with the kernel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from git_theta.hookspecs import hookimpl

if TYPE_CHECKING:
    from git_theta.serializers.interface import Serializer


@hookimpl
def theta_serializers() -> Iterable[Serializer]:
    """Raw bytes, byte planes with zstd, Rice codes."""
    from git_theta.serializers.planes import Planes  # here, since numpy comes with them
    from git_theta.serializers.raw import Raw
    from git_theta.serializers.rice import Rice

    return (Raw(), Planes(), Rice())
