"""The dtypes of parameter groups, under safetensors' names, and how many bytes they take.

Names that safetensors lacks follow its scheme (``C128``, ``C32``). Not for arithmetic: what a
number means to a serializer or an update type is theirs to say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

BITS: dict[str, int] = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "U16": 16,
    "I16": 16,
    "F16": 16,
    "BF16": 16,
    "U32": 32,
    "I32": 32,
    "F32": 32,
    "C32": 32,
    "U64": 64,
    "I64": 64,
    "F64": 64,
    "C64": 64,
    "C128": 128,
}
"""Bits an element takes, by dtype name."""

SCALAR: dict[str, str] = {"C32": "F16", "C64": "F32", "C128": "F64"}
"""The dtype of the real numbers that a complex dtype is a pair of."""


def scalar_bytes(dtype: str) -> int:
    """Bytes of the smallest addressable number of a dtype (a complex number is two), at least 1."""
    return max(1, BITS[SCALAR.get(dtype, dtype)] // 8)


def count_bytes(dtype: str, shape: Sequence[int]) -> int:
    """Bytes of a dense tensor.

    Raises
    ------
    ValueError
        When a sub-byte dtype does not fill whole bytes.
    """
    bits = math.prod(shape) * BITS[dtype]
    if bits % 8:
        raise ValueError(f"{dtype} of shape {list(shape)} ends inside a byte")
    return bits // 8
