"""Registers the serializers that come with the kernel."""

from __future__ import annotations

from collections.abc import Iterable

from git_theta.hookspecs import hookimpl
from git_theta.serializers.interface import Serializer
from git_theta.serializers.planes import Planes
from git_theta.serializers.raw import Raw
from git_theta.serializers.rice import Rice


@hookimpl
def theta_serializers() -> Iterable[Serializer]:
    """Raw bytes, byte planes with zstd, Rice codes."""
    return (Raw(), Planes(), Rice())
