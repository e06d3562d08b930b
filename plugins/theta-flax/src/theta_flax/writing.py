"""Writes a msgpack file through flax, which is imported here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

from git_theta.checkpoint import Layout
from git_theta.errors import CheckpointError, MissingPluginError
from git_theta.formats.interface import TensorData
from git_theta.source import Source
from theta_flax.names import WHOLE
from theta_flax.nesting import fill, nest
from theta_flax.values import make_array

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
    made = {name: make_array(name, group) for name, group in tensors.items()}
    try:
        if template is not None:
            names = {tensor.name for tensor in known.tensors}
            content = fill(_restore(template), made, names)
        else:
            content = made[WHOLE] if set(made) == {WHOLE} else nest(made)
        out.write(serialization.msgpack_serialize(content, in_place=True))
    except RecursionError as fault:
        raise CheckpointError("Checkpoint is nested too deep to be written anew") from fault


def _restore(template: Source) -> object:
    from flax import serialization

    try:
        return serialization.msgpack_restore(bytes(template.read(0, template.size)))
    except Exception as fault:  # whatever flax says about a file that it refuses
        raise CheckpointError(
            f"flax does not read this checkpoint: {fault}", remedy="Save it by flax again"
        ) from fault
