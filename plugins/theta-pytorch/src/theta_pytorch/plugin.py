"""Registers the PyTorch formats; the entry point of this distribution."""

from __future__ import annotations

from collections.abc import Iterable

from git_theta.formats.interface import CheckpointFormat
from git_theta.hookspecs import hookimpl
from theta_pytorch.legacy import PyTorchLegacy
from theta_pytorch.pytorch_zip import PyTorch
from theta_pytorch.torchscript import TorchScript


@hookimpl
def theta_checkpoint_formats() -> Iterable[CheckpointFormat]:
    """What ``torch.save`` writes, what ``torch.jit.save`` does, what was written before 1.6."""
    return (PyTorch(), TorchScript(), PyTorchLegacy())
