"""Samples of buffers: a few runs of numbers that tell whether an update may pay.

A base is decoded in whole blocks, so a sample is few runs and not many scattered numbers.
"""

from __future__ import annotations

from typing import NamedTuple

from git_theta.serializers.planes import Planes
from git_theta.source import Source

WINDOWS = 4
"""Runs of a sample."""

_PLANES = Planes()


class Span(NamedTuple):
    """A run of scalars."""

    first: int
    """Number of its first scalar."""
    length: int
    """Scalars in it."""


def spans(total: int, length: int, *, number: int = WINDOWS) -> list[Span]:
    """Up to ``number`` runs of ``length`` scalars, evenly from the first of ``total`` to the last.

    One run of all of them where that is no more.
    """
    if total <= number * length:
        return [Span(0, total)] if total else []
    return [Span((total - length) * at // (number - 1), length) for at in range(number)]


def stored_bytes(data: Source, dtype: str, *, length: int = 2**13) -> int:
    """Guess how many bytes numbers take when they are stored as byte planes, from one sample."""
    if not data.size:
        return 0
    unit = 48  # whole elements of any dtype
    nbytes = data.size if data.size < unit * length // 8 else unit * length // 8
    sample = data.read((data.size - nbytes) // 2 // unit * unit, nbytes)
    return data.size * min(len(_PLANES.encode(sample, dtype)), nbytes) // nbytes
