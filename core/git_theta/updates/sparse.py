"""The sparse update: positions and values of the scattered numbers that differ from a base's.

A delta says something about every number; where few of them changed, saying which is shorter. The
positions are told as gaps, in blocks of 2^16 numbers, so that any part is decoded by itself. As in
a delta, numbers beyond the base's end are stored as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from git_theta.compiled import kernels
from git_theta.dtypes import BITS, SCALAR
from git_theta.errors import PackError
from git_theta.joined import Joined
from git_theta.source import BytesSource, Source
from git_theta.updates.changes import BLOCK, Changes, gaps_between
from git_theta.updates.delta import common_bytes
from git_theta.updates.interface import Numbers, Part, Update, UpdateType, check_parts
from git_theta.updates.residual import (
    Bits,
    Predicted,
    read_words,
    word,
    word_name,
    zigzag,
    zigzag_undone,
)
from git_theta.updates.sampling import guess_stored, windows
from git_theta.updates.telling import CHANGES, told_changes

MOST = 8
"""Numbers of which at most one may have changed, on average."""
DIFFERENCES, VALUES = b"\1", b"\0"
"""What the values are: params of an update."""

_STEP = 16  # blocks that are decoded at once
_INT = np.int64


class Sparse(UpdateType):
    """Changes by block, their gaps, their values, then the numbers beyond the base's end."""

    name = "sparse"
    max_bases = 1
    fields = CHANGES

    def estimate(self, new: Numbers, bases: Sequence[Numbers]) -> int:
        """Count what changed in a few windows."""
        base, dtype, words = bases[0].data, new.dtype, word(new.dtype)
        common = common_bytes(new.data.size, base.size, dtype)
        sampled, changed, bits = 0, 0, 0.0
        for window in windows(common, dtype):
            one, other = (np.frombuffer(data.read(*window), words) for data in (new.data, base))
            at = np.flatnonzero(one != other)
            sampled, changed = sampled + len(one), changed + len(at)
            bits += float(np.log2(zigzag(one[at] - other[at]).astype(np.float64) + 1).sum())
        if not sampled or changed * MOST > sampled:
            return new.data.size
        tail = new.data.window(common, new.data.size - common)
        guess = 64 + common // words.itemsize // BLOCK + guess_stored(tail, dtype)
        if changed:  # a gap of the mean m has about log2(e * m) bits
            bits += changed * (1 + math.log2(math.e * sampled / changed))
            guess += int(bits / 8 * (common // words.itemsize) / sampled)
        return min(guess, new.data.size)

    def encode(self, new: Numbers, bases: Sequence[Numbers]) -> Update | None:
        """Compare with the base; None where more than one number in eight changed."""
        base, dtype = bases[0].data, new.dtype
        common = common_bytes(new.data.size, base.size, dtype)
        if not common:
            return None
        changes = Changes.found(new.data.window(0, common), base, dtype, most=MOST)
        if changes is None:
            return None
        differ = changes.differences_are_shorter(_value_dtype(dtype))
        tail = new.data.window(common, new.data.size - common)
        sources = (changes.gaps(), changes.differences() if differ else changes.values())
        return _update(changes.counts, sources, dtype, differ, tail)

    def tell(self, base: Numbers, fields: Mapping[str, Numbers]) -> Update | None:
        """Add numbers that were told where they belong."""
        changes = told_changes(base, fields)
        return told(*changes, base.dtype, base.data.size) if changes else None

    def decode(self, update: Update, bases: Sequence[Source], dtype: str, nbytes: int) -> Source:
        """Change what changed."""
        if len(bases) != 1 or update.params not in (DIFFERENCES, VALUES):
            raise PackError(f"Expected a base and 1 byte of params, found {len(bases)} bases")
        differ = update.params == DIFFERENCES
        common = common_bytes(nbytes, bases[0].size, dtype)
        blocks = -(-common // (word(dtype).itemsize * BLOCK))
        changed = update.parts[1].data.size // 2 if len(update.parts) > 2 else 0
        width = word(dtype).itemsize
        kind = word_name(dtype) if differ else _value_dtype(dtype)
        expected = [("U32", 4 * blocks), ("U16", 2 * changed), (kind, width * changed)]
        expected.append((dtype, nbytes - common))
        check_parts(update, [part for part in expected if part[1]])
        if not common:
            raise PackError(f"Expected a base to {nbytes} bytes, found an empty one")
        head: Source = bases[0].window(0, common)
        if changed:
            head = Predicted(dtype, common, _Patched(update, head, word(dtype), differ))
        return Joined([head, update.parts[-1].data]) if nbytes > common else head


def told(positions: NDArray[Any], values: Bits, dtype: str, nbytes: int) -> Update:
    """The update that sets given numbers of a base of ``nbytes`` bytes, and leaves all others.

    Parameters
    ----------
    positions
        Numbers of the scalars to set, strictly ascending (a complex number is two).
    values
        Their new bits, unsigned integers of the scalar's width.
    dtype, nbytes
        safetensors' name of the base's dtype, and its length.

    Raises
    ------
    ValueError
        When positions are not ascending or not inside the base, or values do not match them.
    """
    where, words = positions.astype(_INT), word(dtype)
    total = nbytes // words.itemsize
    if where.shape != values.shape or where.ndim != 1 or values.dtype != words:
        raise ValueError(f"Expected as many {words} as positions, found {values.dtype}")
    if len(where) and (where[0] < 0 or where[-1] >= total or (np.diff(where) <= 0).any()):
        raise ValueError(f"Expected ascending positions below {total}, found others")
    counts = np.bincount(where // BLOCK, minlength=-(-total // BLOCK)).astype("<u4")
    sources = BytesSource(gaps_between(where).tobytes()), BytesSource(values.tobytes())
    return _update(counts, sources, dtype, False, BytesSource(b""))


def _update(
    counts: NDArray[np.uint32],
    sources: tuple[Source, Source],
    dtype: str,
    differ: bool,
    tail: Source,
) -> Update:
    kind = word_name(dtype) if differ else _value_dtype(dtype)
    parts = (
        Part("U32", BytesSource(counts.tobytes())),
        Part("U16", sources[0]),
        Part(kind, sources[1]),
        Part(dtype, tail),
    )
    params = DIFFERENCES if differ else VALUES
    return Update(tuple(part for part in parts if part.data.size), params)


def _value_dtype(dtype: str) -> str:
    """Of a scalar: half a complex number, a byte of numbers that are smaller."""
    return SCALAR.get(dtype, dtype) if BITS[dtype] >= 8 else "U8"


def _beyond() -> PackError:
    return PackError("Expected positions inside their block, found one beyond its end")


class _Patched:
    """Predicts the numbers of a base with what changed in them; see ``residual.Predict``."""

    def __init__(self, update: Update, base: Source, words: Any, differ: bool) -> None:
        self._counts, self._gaps, self._values = (part.data for part in update.parts[:3])
        self._base, self._words, self._differ = base, words, differ
        self._total = base.size // words.itemsize
        self._starts: list[int] | None = None

    def __call__(self, first: int, count: int) -> Bits:
        out = read_words(self._base, first, count, self._words).copy()
        last = -(-(first + count) // BLOCK)
        for block in range(first // BLOCK, last, _STEP):
            self._change(out, first, block, min(block + _STEP, last))
        return out

    def _change(self, out: Bits, first: int, block: int, end: int) -> None:
        """Change what blocks ``block`` to ``end`` say of the scalars from ``first``."""
        starts = self._changes_before()
        at, count = starts[block], starts[end] - starts[block]
        if not count:
            return
        gaps = read_words(self._gaps, at, count, np.dtype("<u2"))
        if kernels:
            counts = np.diff(starts[block : end + 1]).astype("<u4")
            told = counts, gaps, read_words(self._values, at, count, self._words)
            if not kernels.patch(out, first, self._total, block, told, add=self._differ):
                raise _beyond()
            return
        where = self._positions(gaps, np.array(starts[block : end + 1], _INT) - at, block)
        low, high = np.searchsorted(where, (first, first + len(out)))
        values = read_words(self._values, at + int(low), int(high - low), self._words)
        here = where[low:high] - first
        if self._differ:
            out[here] += zigzag_undone(values)
        else:
            out[here] = values

    def _positions(self, gaps: NDArray[Any], starts: NDArray[Any], block: int) -> NDArray[Any]:
        ends = np.cumsum(gaps, dtype=_INT) + np.arange(1, len(gaps) + 1)
        counts = np.diff(starts)
        before = np.concatenate(([0], ends))[starts[:-1]]
        bases = (np.arange(len(counts)) + block) * BLOCK
        where: NDArray[Any] = ends - 1 + np.repeat(bases - before, counts)
        limits = np.minimum(bases + BLOCK, self._total)
        filled = counts > 0
        if (where[starts[1:][filled] - 1] >= limits[filled]).any():
            raise _beyond()
        return where

    def _changes_before(self) -> list[int]:
        """Changes before each block, and in all."""
        if self._starts is None:
            counts = read_words(self._counts, 0, self._counts.size // 4, np.dtype("<u4"))
            starts = list(accumulate(counts.tolist(), initial=0))
            if counts.max() > BLOCK or 2 * starts[-1] != self._gaps.size:
                raise PackError(
                    f"Expected {self._gaps.size // 2} changes, found blocks of {starts[-1]}"
                )
            self._starts = starts
        return self._starts
