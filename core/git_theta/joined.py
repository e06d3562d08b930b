"""Several sources read as one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate

from git_theta.source import Source


class Joined(Source):
    """Sources one after another; windows that lie side by side are read at once."""

    def __init__(self, pieces: Iterable[Source]) -> None:
        self._pieces = _merge(pieces)
        self._starts = list(accumulate((piece.size for piece in self._pieces), initial=0))
        self.size = self._starts[-1]

    def _read(self, offset: int, nbytes: int) -> bytes | memoryview:
        number = bisect_right(self._starts, offset) - 1
        end = offset + nbytes
        if end <= self._starts[number + 1]:
            return self._pieces[number].read(offset - self._starts[number], nbytes)
        parts = []
        while offset < end:
            piece, start = self._pieces[number], self._starts[number]
            count = min(end, start + piece.size) - offset
            parts.append(piece.read(offset - start, count))
            offset += count
            number += 1
        return b"".join(parts)


def _merge(pieces: Iterable[Source]) -> list[Source]:
    merged: list[Source] = []
    for piece in pieces:
        if not piece.size:
            continue
        longer = merged[-1].joined(piece) if merged else None
        if longer is None:
            merged.append(piece)
        else:
            merged[-1] = longer
    return merged
