"""Guesses from samples: how many bytes a run of numbers would be stored in.

All update types that guess read the same few windows, so a base is decoded at few places.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from git_theta.dtypes import BITS
from git_theta.serializers.interface import Serializer
from git_theta.serializers.planes import Planes
from git_theta.source import Source

WINDOWS = 4
"""How many windows of a long run are looked at."""
WINDOW_BYTES = 2**15
"""Bytes of a window."""

_planes = Planes()


def windows(
    nbytes: int, dtype: str, row: int = 1, *, width: int = WINDOW_BYTES
) -> list[tuple[int, int]]:
    """Offset and length in bytes of the windows of a run, ascending; all of a short run.

    ``row`` is how many elements make a row; windows begin where rows do. ``width`` is the bytes of
    a window; narrower ones lie inside those that others read.
    """
    if nbytes <= WINDOWS * width:
        return [(0, nbytes)] if nbytes else []
    unit = math.lcm(BITS[dtype] * row, 8) // 8
    length = min(max(width // unit, 1) * unit, nbytes)
    last = (nbytes - length) // unit
    starts = dict.fromkeys(last * number // (WINDOWS - 1) * unit for number in range(WINDOWS))
    return [(start, length) for start in starts]


def guess_stored(data: Source, dtype: str) -> int:
    """How many bytes a part would be stored in by the serializer that the kernel prefers."""
    return guess_of([data.read(*window) for window in windows(data.size, dtype)], data.size, dtype)


def guess_of(
    samples: Sequence[bytes | memoryview], nbytes: int, dtype: str, serializer: Serializer = _planes
) -> int:
    """How many bytes ``nbytes`` bytes would be stored in of which these are samples."""
    seen = sum(len(sample) for sample in samples)
    if not seen:
        return 0
    stored = sum(
        min(len(serializer.encode(sample, dtype)), len(sample)) for sample in samples if len(sample)
    )
    return math.ceil(stored * nbytes / seen)
