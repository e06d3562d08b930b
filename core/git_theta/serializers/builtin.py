"""Registers the serializers that come with the kernel."""

from __future__ import annotations

from collections.abc import Iterable

from git_theta.hookspecs import hookimpl
from git_theta.serializers.interface import Serializer
from git_theta.serializers.planes import Planes
from git_theta.serializers.raw import Raw


@hookimpl
def theta_serializers() -> Iterable[Serializer]:
    """Raw bytes, and byte planes with zstd."""
    return (Raw(), Planes())
