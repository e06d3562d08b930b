"""Registers the formats of TensorFlow and Keras; the entry point of this distribution."""

from __future__ import annotations

from collections.abc import Iterable

from git_theta.formats.interface import CheckpointFormat
from git_theta.hookspecs import hookimpl
from theta_tensorflow.checkpoint import TensorFlow
from theta_tensorflow.hdf5_file import Hdf5
from theta_tensorflow.keras import Keras


@hookimpl
def theta_checkpoint_formats() -> Iterable[CheckpointFormat]:
    """Checkpoints and SavedModels, ``.keras``, and HDF5 files."""
    return (TensorFlow(), Keras(), Hdf5())
