"""Writes a msgpack file through flax, which is imported here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from git_theta.checkpoint import Layout
from git_theta.errors import CheckpointError, MissingPluginError
from git_theta.formats.interface import TensorData
from git_theta.source import Source
from theta_flax.dtypes import DTYPES
from theta_flax.names import WHOLE
from theta_flax.nesting import fill, hang

if TYPE_CHECKING:
    import numpy as np

INSTALL = "pip install 'git-theta[flax]'"


def write_with_flax(
    tensors: Mapping[str, TensorData], template: Source | None, known: Layout, out: BinaryIO
) -> None:
    """Write parameter groups by ``flax.serialization.msgpack_serialize``.

    Parameters
    ----------
    tensors
        The groups by name.
    template
        A checkpoint whose nesting and other content is kept; None: nested as the names tell.
    known
        What our own reading found in the template, and so bounded.
    out
        Where to write.

    Raises
    ------
    MissingPluginError
        When flax is not installed.
    CheckpointError
        When flax cannot read the template, or cannot hold a group.
    """
    try:
        from flax import serialization
    except ImportError as fault:
        raise MissingPluginError("Writing a checkpoint anew needs flax", remedy=INSTALL) from fault
    made = {name: _make_array(name, group) for name, group in tensors.items()}
    try:
        content = _nest(made) if template is None else fill(_restore(template), made, known)
        out.write(serialization.msgpack_serialize(content, in_place=True))
    except RecursionError as fault:
        raise CheckpointError("Checkpoint is nested too deep to be written anew") from fault


def _nest(arrays: Mapping[str, Any]) -> object:
    if set(arrays) == {WHOLE}:
        return arrays[WHOLE]
    content: dict[Any, Any] = {}
    for name in sorted(arrays, key=lambda name: name.count(".")):  # "a" before "a.b"
        hang(content, name, arrays[name])
    return content


def _make_array(name: str, group: TensorData) -> np.ndarray[Any, Any]:
    import numpy as np

    names = {ours: theirs for theirs, ours in DTYPES.items()}
    if group.dtype not in names:
        raise CheckpointError(
            f"Group {name!r} is {group.dtype}, which jax has no dtype for",
            remedy="Save the checkpoint in another format, or convert the group",
        )
    array = np.empty(group.shape, np.dtype(names[group.dtype]))  # ml_dtypes are known by now
    if array.nbytes != group.data.size:
        raise CheckpointError(
            f"Expected {array.nbytes} bytes of group {name!r}, found {group.data.size}"
        )
    raw, pos = array.reshape(-1).view(np.uint8), 0
    for block in group.data.blocks():
        raw[pos : pos + len(block)] = np.frombuffer(block, np.uint8)
        pos += len(block)
    return array


def _restore(template: Source) -> object:
    from flax import serialization

    try:
        return serialization.msgpack_restore(bytes(template.read(0, template.size)))
    except Exception as fault:  # whatever flax says about a file that it refuses
        raise CheckpointError(
            f"flax does not read this checkpoint: {fault}", remedy="Save it by flax again"
        ) from fault
