"""Parameter groups as arrays of numpy, for the libraries that write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from git_theta.errors import CheckpointError
from git_theta.formats.interface import TensorData
from theta_flax.dtypes import DTYPES

if TYPE_CHECKING:
    import numpy as np


def make_array(name: str, group: TensorData) -> np.ndarray[Any, Any]:
    """The value of a group; ml_dtypes must be imported, as jax does.

    Raises
    ------
    CheckpointError
        When jax has no such dtype, or the value is not as long as its shape asks for.
    """
    import numpy as np

    names = {ours: theirs for theirs, ours in DTYPES.items()}
    if group.dtype not in names:
        raise CheckpointError(
            f"Group {name!r} is {group.dtype}, which jax has no dtype for",
            remedy="Save the checkpoint in another format, or convert the group",
        )
    array = np.empty(group.shape, np.dtype(names[group.dtype]))
    if array.nbytes != group.data.size:
        raise CheckpointError(
            f"Expected {array.nbytes} bytes of group {name!r}, found {group.data.size}"
        )
    raw, pos = array.reshape(-1).view(np.uint8), 0
    for block in group.data.blocks():
        raw[pos : pos + len(block)] = np.frombuffer(block, np.uint8)
        pos += len(block)
    return array
