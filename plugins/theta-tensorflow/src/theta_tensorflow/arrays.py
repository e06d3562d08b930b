"""Parameter groups as numpy arrays, for the libraries that write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from git_theta.errors import CheckpointError
from git_theta.formats.interface import TensorData

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_NUMPY = {
    "BOOL": "bool",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "F16": "<f2",
    "U32": "<u4",
    "I32": "<i4",
    "F32": "<f4",
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
    "C64": "<c8",
    "C128": "<c16",
}
_ML = {
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}
"""Dtypes of ml_dtypes, which comes with the frameworks."""


def array_of(name: str, tensor: TensorData) -> npt.NDArray[Any]:
    """The values of a group, of its shape.

    Raises
    ------
    CheckpointError
        When numpy has no such dtype.
    """
    import numpy as np

    raw = np.empty(tensor.data.size, "u1")
    at = 0
    for block in tensor.data.blocks():
        raw[at : at + len(block)] = np.frombuffer(block, "u1")
        at += len(block)
    return raw.view(_dtype_of(name, tensor.dtype)).reshape(tensor.shape)


def _dtype_of(name: str, dtype: str) -> np.dtype[Any]:
    import numpy as np

    if dtype in _ML:
        import ml_dtypes

        found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, _ML[dtype]))
        return found
    if dtype not in _NUMPY:
        raise CheckpointError(f"Group {name!r} is {dtype}, which cannot be written here")
    return np.dtype(_NUMPY[dtype])
