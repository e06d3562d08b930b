"""Numbers times a vector, and the vector that makes most of them exactly what they became.

The numbers along one axis of a group share a factor: rows or columns of a matrix, input channels
of a convolution. :class:`View` says which, without a shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from git_theta.dtypes import BITS
from git_theta.source import Source
from git_theta.updates.elementwise import STEP, Floats, narrowed, widened
from git_theta.updates.residual import Bits, read_words, word

ENTRIES = 64
"""Numbers on which a factor is looked for."""
LEAST = 8
"""Numbers that share a factor at least: fewer are no less than the vector itself."""

_CHUNK = 2**16  # scalars of a strip that is read at once
_ROUNDING = 2.0**-40
_WIDE = ("F32", "F64")
_NEIGHBOURS = 3  # of a ratio, on either side, that are tried as factors


class View(NamedTuple):
    """Scalars as ``outer`` times ``groups`` runs; each run of a group has the group's factor.

    Scalar ``i`` has the factor ``i // run % groups``.
    """

    outer: int
    groups: int
    """Factors."""
    run: int
    """Scalars that lie together and share one."""


class Fitted(NamedTuple):
    """A factor for each group."""

    factors: Floats
    low: NDArray[np.float64]
    """From where to where a factor makes as many numbers exact; NaN where that is not known."""
    high: NDArray[np.float64]


def views(shape: Sequence[int], scalars: int) -> list[View]:
    """The ways to share factors along one axis, then one for all if there are none.

    ``scalars`` is how many of them an element is made of.
    """
    found = []
    for axis, count in enumerate(shape):
        outer, run = math.prod(shape[:axis]), math.prod(shape[axis + 1 :]) * scalars
        if count > 1 and outer * run >= LEAST:
            found.append(View(outer, count, run))
    return found or [View(1, 1, math.prod(shape) * scalars)]


def expanded(vector: NDArray[Any], run: int, first: int, count: int) -> NDArray[Any]:
    """The entries of a vector that belong to ``count`` scalars from number ``first``."""
    if len(vector) == 1:
        return vector
    begin, end = first // run, -(-(first + count) // run)
    entries = vector[np.arange(begin, end) % len(vector)]
    if run == 1:
        return entries
    lengths = np.full(end - begin, run)
    lengths[0] -= first - begin * run
    lengths[-1] -= end * run - first - count
    return np.repeat(entries, lengths)


def scaled(bits: Bits, factors: Floats, dtype: str) -> Bits:
    """Numbers times factors, by one multiplication; where that is not finite, as they were."""
    with np.errstate(all="ignore"):
        values = widened(bits, dtype) * factors
    made, finite = narrowed(values, dtype)
    product: Bits = np.where(finite, made, bits)
    return product


def solve(new: Source, base: Source, dtype: str, view: View) -> Floats:
    """The factors that make most numbers exact, by a sample; of narrow dtypes then by all."""
    step = max(_CHUNK // max(view.run, ENTRIES), 1)
    parts = []
    for at in range(0, view.groups, step):
        groups = min(step, view.groups - at)
        after, before = (_sample(data, dtype, view, at, groups) for data in (new, base))
        parts.append(fit(after, before, dtype))
    found = Fitted(*map(np.concatenate, zip(*parts, strict=True)))
    if dtype in _WIDE:
        return found.factors
    short = _shortened(found, dtype) if BITS[dtype] == 16 else None
    if short is None:
        found = _confined(new, base, dtype, view, found)
        short = _shortened(found, dtype) if BITS[dtype] == 16 else None
    return found.factors if short is None else short


def _sample(data: Source, dtype: str, view: View, at: int, groups: int) -> Bits:
    """Some numbers of each of ``groups`` groups from group ``at``, a row for each."""
    outer = range(0, view.outer, max(view.outer // ENTRIES, 1))[:ENTRIES]
    taken = min(view.run, _CHUNK)
    every = max(taken // max(ENTRIES // len(outer), 1), 1)
    starts = ((number * view.groups + at) * view.run for number in outer)
    strips = (read_words(data, first, groups * taken, word(dtype)) for first in starts)
    return np.concatenate([strip.reshape(groups, taken)[:, ::every].copy() for strip in strips], 1)


def fit(new: Bits, base: Bits, dtype: str) -> Fitted:
    """A factor for each row of two tables of numbers."""
    every, find = (
        max(new.shape[1] // ENTRIES, 1),
        _by_neighbours if dtype in _WIDE else _by_intervals,
    )
    with np.errstate(all="ignore"):
        return find(new[:, ::every], base[:, ::every], dtype)


def _by_neighbours(new: Bits, base: Bits, dtype: str) -> Fitted:
    """Numbers near the median of the ratios, of which one makes most entries exact."""
    after, before = widened(new, dtype), widened(base, dtype)
    ratios = after.astype("<f8") / before
    valid = np.isfinite(ratios)
    ratios = np.sort(np.where(valid, ratios, np.inf), axis=1)
    known = valid.sum(1)
    middle = np.take_along_axis(ratios, np.maximum(known - 1, 0)[:, None] // 2, 1)[:, 0]
    factors = np.where(known > 0, middle, 1).astype(before.dtype)
    best, most = factors, (before * factors[:, None] == after).sum(1)
    for side in (np.inf, -np.inf):
        other = factors
        for _ in range(_NEIGHBOURS):
            other = np.nextafter(other, other.dtype.type(side))
            exact = (before * other[:, None] == after).sum(1)
            best, most = np.where(exact > most, other, best), np.maximum(exact, most)
    unknown = np.full(len(best), np.nan)
    return Fitted(best, unknown, unknown)


def _by_intervals(new: Bits, base: Bits, dtype: str) -> Fitted:
    """The middle of where most of the intervals of :func:`_intervals` overlap."""
    low, high = _intervals(new, base, dtype)
    known = np.isfinite(low) & np.isfinite(high)
    ends = np.concatenate((np.where(known, low, np.inf), np.where(known, high, np.inf)), 1)
    steps = np.concatenate((known.astype(np.int8), -known.astype(np.int8)), 1)
    order = np.argsort(ends, axis=1, kind="stable")
    ends = np.take_along_axis(ends, order, 1)
    depth = np.cumsum(np.take_along_axis(steps, order, 1), axis=1, dtype=np.int32)
    at = np.argmax(depth, axis=1)[:, None]
    none = ~known.any(1)
    found = [np.take_along_axis(ends, at + more, 1)[:, 0] for more in (0, 1)]
    low, high = (np.where(none, 1, end) for end in found)
    return Fitted(((low + high) / 2).astype("<f4"), low, high)


def _intervals(
    new: Bits, base: Bits, dtype: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """From where to where a factor makes each number exactly the new one; NaN: none does, or all.

    Infinite where it would have to be.
    """
    top = new.dtype.type(1 << (8 * new.itemsize - 1))
    size = new & (top - new.dtype.type(1))
    after = widened(size, dtype).astype("<f8")
    one = new.dtype.type(1)
    above = (after + widened(np.minimum(size, top - 2) + one, dtype)) / 2
    below = (after + widened(np.maximum(size, 1) - one, dtype)) / 2
    below = np.where(size > 0, below, -above)
    before = widened(base, dtype).astype("<f8")
    before = np.where(new & top, -before, before)
    before[before == 0] = np.nan
    one_end, other_end = below / before, above / before
    low, high = np.minimum(one_end, other_end), np.maximum(one_end, other_end)
    # quotients are rounded, and intervals that touch have the factor where they do
    return low - np.abs(low) * _ROUNDING, high + np.abs(high) * _ROUNDING


def _shortened(found: Fitted, dtype: str) -> Floats | None:
    """The factors as numbers of the dtype itself, where most can be; None if most cannot."""
    bits, finite = narrowed(found.factors, dtype)
    short = widened(bits, dtype)
    fits = finite & (found.low <= short) & (short <= found.high)
    return np.where(fits, short, found.factors) if fits.sum() * 2 > len(fits) else None


def _confined(new: Source, base: Source, dtype: str, view: View, found: Fitted) -> Fitted:
    """Factors that suit all numbers that the fitted ones nearly suit, where there are such."""
    words, total = word(dtype), view.outer * view.groups * view.run
    low, high = found.low.copy(), found.high.copy()
    numbers = np.arange(view.groups)
    with np.errstate(all="ignore"):
        for first in range(0, total, STEP):
            count = min(STEP, total - first)
            after, before = (read_words(data, first, count, words) for data in (new, base))
            begins, ends = _intervals(after, before, dtype)
            least, most = (expanded(end, view.run, first, count) for end in (found.low, found.high))
            group = np.broadcast_to(expanded(numbers, view.run, first, count), count)
            later = (begins > least) & (begins < most)
            sooner = (ends > least) & (ends < most)
            np.maximum.at(low, group[later], begins[later])
            np.minimum.at(high, group[sooner], ends[sooner])
    middle = ((low + high) / 2).astype("<f4")
    agreed = low <= high
    low, high = np.where(agreed, low, found.low), np.where(agreed, high, found.high)
    return Fitted(np.where(agreed, middle, found.factors), low, high)
