"""Numbers of an update file as NumPy arrays: few enough to be held, and finite."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from git_theta.dtypes import BITS
from git_theta.errors import UpdateFileError
from git_theta.updates.interface import Numbers

MAX_NUMBERS = 2**23
"""Most numbers of a field that is held in memory."""

_FLOATS = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
_INTEGERS = {"U8": "u1", "I8": "i1"} | {
    f"{kind}{bits}": f"<{kind.lower()}{bits // 8}" for kind in "UI" for bits in (16, 32, 64)
}


def floats(numbers: Numbers, what: str, most: int = MAX_NUMBERS) -> NDArray[np.float64]:
    """Numbers as binary64, exactly, in their shape.

    Parameters
    ----------
    numbers
        Floats of 16 to 64 bits.
    what
        What they are, for messages.
    most
        How many they may be.

    Raises
    ------
    UpdateFileError
        When they are of another dtype, too many, or not finite.
    """
    data = _data(numbers, what, most)
    if numbers.dtype == "BF16":
        values = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    elif numbers.dtype in _FLOATS:
        values = np.frombuffer(data, _FLOATS[numbers.dtype])
    else:
        wanted = ", ".join(sorted([*_FLOATS, "BF16"]))
        raise UpdateFileError(f"{what} is {numbers.dtype}, expected one of {wanted}")
    if not np.isfinite(values).all():
        raise UpdateFileError(
            f"{what} has numbers that are infinite or NaN",
            remedy="Look for the step of the training that went wrong",
        )
    return values.astype("<f8").reshape(numbers.shape)


def integers(numbers: Numbers, what: str, most: int = MAX_NUMBERS) -> NDArray[np.int64]:
    """Whole numbers in their shape; errors as in :func:`floats`."""
    data = _data(numbers, what, most)
    if numbers.dtype not in _INTEGERS:
        raise UpdateFileError(f"{what} is {numbers.dtype}, expected whole numbers")
    values: NDArray[Any] = np.frombuffer(data, _INTEGERS[numbers.dtype])
    if values.size and int(values.max()) >= 2**63:
        raise UpdateFileError(f"{what} has {values.max()}, expected less than 2^63")
    return values.astype(np.int64).reshape(numbers.shape)


def _data(numbers: Numbers, what: str, most: int) -> bytes | memoryview:
    count = numbers.data.size * 8 // BITS[numbers.dtype]
    if count > most:
        raise UpdateFileError(
            f"{what} has {count} numbers, expected at most {most}",
            remedy="Apply the update to the checkpoint yourself, then: git add CHECKPOINT",
        )
    return numbers.data.read(0, numbers.data.size)
