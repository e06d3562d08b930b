"""The scattered numbers in which a buffer differs from another: found in runs, never all held."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from git_theta.compiled import kernels
from git_theta.serializers.planes import Planes
from git_theta.source import Source
from git_theta.updates.residual import Bits, read_words, word, word_name, zigzag

BLOCK = 2**16
"""Numbers in a block, within which a gap fits 16 bits."""
_STEP = 4 * BLOCK  # numbers that are compared at once
RUN = 2**20
"""Bytes of 8-bit numbers that are read at once, of wider ones twice as many."""
HELD = 8 * 2**20
"""Bytes of changes that are held; beyond, runs are compared again when they are read."""

_SAMPLE = 2**15  # changes on which the two ways to tell values are tried


class _Run(NamedTuple):
    """What changed in a run, by number."""

    counts: NDArray[Any]
    gaps: NDArray[Any]
    values: Bits
    differences: Bits


class Changes:
    """Where, and how, ``new`` differs from as many numbers of ``base``."""

    counts: NDArray[np.uint32]
    """Changes in each block."""

    def __init__(self, new: Source, base: Source, dtype: str) -> None:
        self._new, self._base, self._dtype, self._words = new, base, dtype, word(dtype)
        self._step = min(RUN, 2 * RUN // self._words.itemsize)
        self._held: dict[int, _Run] = {}
        self._starts = [0]

    @classmethod
    def found(cls, new: Source, base: Source, dtype: str, *, most: int) -> Changes | None:
        """Compare all numbers; None when more than one in ``most`` changed."""
        changes = cls(new, base, dtype)
        total = new.size // changes._words.itemsize
        counts, held, found = [], 0, 0
        for number in range(-(-total // changes._step)):
            run = changes._compare(number)
            counts.append(run.counts)
            found += len(run.gaps)
            if found * most > total:
                return None
            held += sum(part.nbytes for part in run[1:])
            if held <= HELD:
                changes._held[number] = run
        changes.counts = np.concatenate(counts)
        sizes = (int(count.sum()) for count in counts)
        changes._starts = list(accumulate(sizes, initial=0))
        return changes

    def gaps(self) -> Source:
        """16 bits a change: the numbers between it and the one before, or the block's begin."""
        return _Told(lambda run: run.gaps, self._run, self._starts, 2)

    def values(self) -> Source:
        """The new bits of each number that changed."""
        return _Told(lambda run: run.values, self._run, self._starts, self._words.itemsize)

    def differences(self) -> Source:
        """The differences to the base of each number that changed, in zigzag order."""
        return _Told(lambda run: run.differences, self._run, self._starts, self._words.itemsize)

    def differences_are_shorter(self, dtype: str) -> bool:
        """Whether differences serialize shorter than values (of ``dtype``), by a sample."""
        nbytes = min(self._starts[-1], _SAMPLE) * self._words.itemsize
        planes = Planes()
        differences = planes.encode(self.differences().read(0, nbytes), word_name(dtype))
        return len(differences) < len(planes.encode(self.values().read(0, nbytes), dtype))

    def _run(self, number: int) -> _Run:
        return self._held.get(number) or self._compare(number)

    def _compare(self, number: int) -> _Run:
        first = number * self._step
        count = min(self._step, self._new.size // self._words.itemsize - first)
        news = read_words(self._new, first, count, self._words)
        bases = read_words(self._base, first, count, self._words)
        if kernels:
            return _Run(*kernels.changes(news, bases))
        counts, gaps, values, differences = [], [], [], []
        for at in range(0, count, _STEP):
            new, base = news[at : at + _STEP], bases[at : at + _STEP]
            where = np.flatnonzero(new != base)
            counts.append(np.bincount(where // BLOCK, minlength=-(-len(new) // BLOCK)))
            gaps.append(gaps_between(where))
            values.append(new[where])
            differences.append(zigzag(values[-1] - base[where]))
        return _Run(
            np.concatenate(counts).astype("<u4"),
            *map(np.concatenate, (gaps, values, differences)),
        )


def gaps_between(positions: NDArray[Any]) -> NDArray[Any]:
    """Ascending positions as 16-bit gaps: from the one before, or from the block's begin."""
    gaps = np.diff(positions, prepend=-1) - 1
    block = positions // BLOCK
    first = np.diff(block, prepend=-1) != 0
    gaps[first] = positions[first] % BLOCK
    return gaps.astype("<u2")


class _Told(Source):
    """One thing about every change, computed when it is read."""

    def __init__(
        self,
        part: Callable[[_Run], NDArray[Any]],
        run: Callable[[int], _Run],
        starts: list[int],
        width: int,
    ) -> None:
        self._part, self._run, self._width = part, run, width
        self._starts = [start * width for start in starts]
        self.size = self._starts[-1]

    def _read(self, offset: int, nbytes: int) -> bytes:
        end, pieces = offset + nbytes, []
        number = bisect_right(self._starts, offset) - 1
        while offset < end:
            start, stop = self._starts[number], min(self._starts[number + 1], end)
            if stop > offset:
                data = self._part(self._run(number)).tobytes()
                pieces.append(data[offset - start : stop - start])
                offset = stop
            number += 1
        return b"".join(pieces)
