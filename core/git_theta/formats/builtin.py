"""Registers the checkpoint formats that come with the kernel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from git_theta.hookspecs import hookimpl

if TYPE_CHECKING:
    from git_theta.formats.interface import CheckpointFormat


@hookimpl
def theta_checkpoint_formats() -> Iterable[CheckpointFormat]:
    """Formats that need no framework; the general container is asked last."""
    from git_theta.formats.npy import Npy  # here, since a checkout asks no format
    from git_theta.formats.safetensors import Safetensors
    from git_theta.formats.zip import Zip

    return (Safetensors(), Npy(), Zip())
