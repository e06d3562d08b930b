"""Registers the checkpoint formats that come with the kernel."""

from __future__ import annotations

from collections.abc import Iterable

from git_theta.formats.interface import CheckpointFormat
from git_theta.formats.npy import Npy
from git_theta.formats.safetensors import Safetensors
from git_theta.formats.zip import Zip
from git_theta.hookspecs import hookimpl


@hookimpl
def theta_checkpoint_formats() -> Iterable[CheckpointFormat]:
    """Formats that need no framework; the general container is asked last."""
    return (Safetensors(), Npy(), Zip())
