"""Writes an HDF5 file of a new structure through h5py, with which Keras writes its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from git_theta.errors import CheckpointError, MissingPluginError
from git_theta.formats.interface import TensorData
from git_theta.source import Source
from theta_tensorflow.arrays import array_of
from theta_tensorflow.hdf5.scan import scan_hdf5

INSTALL = "pip install 'git-theta[tensorflow]'"

_NOT_HELD = ("C64", "C128", "F8_")
"""How dtypes begin that our reading does not find again in HDF5."""


def write_with_h5py(
    tensors: Mapping[str, TensorData], template: Source | None, out: IO[bytes]
) -> None:
    """Write groups as contiguous datasets at their paths; one at a time is held in memory.

    Parameters
    ----------
    tensors
        The groups by name.
    template
        An HDF5 file whose attributes and other datasets are kept; None: nothing but the groups.
    out
        Where to write.

    Raises
    ------
    MissingPluginError
        When h5py is not installed.
    CheckpointError
        When HDF5 cannot hold a group, or the template is malformed or refers to other files.
    """
    try:
        import h5py
    except ImportError as fault:
        raise MissingPluginError("Writing an HDF5 file anew needs h5py", remedy=INSTALL) from fault
    known = [tensor.name for tensor in scan_hdf5(template).tensors] if template else []
    with tempfile.TemporaryDirectory(prefix="git-theta-") as folder:
        path = Path(folder) / "file.h5"
        if template:
            with path.open("wb") as copy:
                for block in template.blocks():
                    copy.write(block)
        with h5py.File(path, "r+" if template else "w") as file:
            for name in known:
                if name not in tensors:
                    del file[name]
            for name, tensor in tensors.items():
                _put(file, name, tensor)
        with path.open("rb") as made:
            shutil.copyfileobj(made, out)


def _put(file: Any, name: str, tensor: TensorData) -> None:
    if tensor.dtype.startswith(_NOT_HELD):
        raise CheckpointError(f"Group {name!r} is {tensor.dtype}, which HDF5 cannot hold")
    array = array_of(name, tensor)
    is_bfloat16 = tensor.dtype == "BF16"
    if is_bfloat16:
        array = array.view("V2")
    attributes = {}
    if name in file:
        attributes = dict(file[name].attrs)
        if file[name].shape == array.shape and file[name].dtype == array.dtype:
            file[name][...] = array
            return
        del file[name]
    made = file.create_dataset(name, data=array)
    attributes.pop("dtype", None)
    if is_bfloat16:
        attributes["dtype"] = "bfloat16"  # as Keras marks it
    for key, value in attributes.items():
        made.attrs[key] = value
