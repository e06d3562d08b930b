"""The scale update: numbers told as those of a base, times a vector along one axis.

IA3 and its like train such vectors, and merge them into the weights. One multiplication, rounded
once, gives the same bits everywhere; what it misses is a residual.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from git_theta.dtypes import BITS, SCALAR
from git_theta.errors import PackError, UpdateFileError
from git_theta.source import BytesSource, Source
from git_theta.updates.elementwise import MANTISSA, STEP, Floats
from git_theta.updates.interface import Numbers, Part, Update, UpdateType, check_parts
from git_theta.updates.residual import (
    Bits,
    Predict,
    Predicted,
    Residual,
    Restored,
    read_words,
    word,
    word_name,
    zigzag,
)
from git_theta.updates.sampling import guess_of, windows
from git_theta.updates.scaled import LEAST, View, expanded, fit, scaled, solve, views
from git_theta.updates.telling import SCALING, told_scaling

MAX_VECTOR = 16 * 2**20
"""Bytes of the longest vector: it is held while numbers are decoded."""
WORTH = 0.75
"""Bits that may be missed, as a share of those that the base alone misses."""


class _Found(NamedTuple):
    """A way to share factors, and what it would take."""

    view: View
    nbytes: int


class Scale(UpdateType):
    """A vector, then what the products miss."""

    name = "scale"
    max_bases = 1
    fields = SCALING

    def estimate(self, new: Numbers, bases: Sequence[Numbers]) -> int:
        """Look for factors on a sample."""
        found = _find(new, bases[0])
        return new.data.size if found is None else min(found.nbytes, new.data.size)

    def encode(self, new: Numbers, bases: Sequence[Numbers]) -> Update | None:
        """Look for the axis on a sample, for the factors then; None when there is none."""
        found, base, dtype = _find(new, bases[0]), bases[0].data, new.dtype
        if found is None:
            return None
        factors = solve(new.data, base, SCALAR.get(dtype, dtype), found.view)
        update = _update(factors, found.view.run, new)
        predict = _predictor(factors, found.view.run, base, dtype)
        if not _misses(new, predict):
            return update
        residual = Residual(new.data, dtype, predict)
        return Update((*update.parts, Part(word_name(dtype), residual)), update.params)

    def tell(self, base: Numbers, fields: Mapping[str, Numbers]) -> Update | None:
        """Multiply by a vector that was told."""
        try:
            return told(*told_scaling(base, fields), base)
        except ValueError as fault:
            raise UpdateFileError(str(fault)) from fault

    def decode(self, update: Update, bases: Sequence[Source], dtype: str, nbytes: int) -> Source:
        """Multiply, add what that misses."""
        scalar = SCALAR.get(dtype, dtype)
        if len(bases) != 1 or scalar not in MANTISSA or bases[0].size != nbytes:
            raise PackError(f"Expected a base of floats and of {nbytes} bytes, found {dtype}")
        run = int.from_bytes(update.params, "little")
        vector = update.parts[0].data if update.parts else BytesSource(b"")
        count, kind = vector.size // _kind(dtype).itemsize, _kind_name(dtype)
        residual = [(word_name(dtype), nbytes)] * (len(update.parts) > 1)
        check_parts(update, [(kind, count * _kind(dtype).itemsize), *residual])
        total = nbytes // word(dtype).itemsize
        if len(update.params) != 8 or not 0 < vector.size <= MAX_VECTOR:
            raise PackError(f"Expected 8 bytes of params, factors, found {vector.size} bytes")
        if not run or not total or total % (count * run):
            raise PackError(f"Expected {count} runs of {run} to fill {total} numbers, found others")
        predict = _Lazy(vector, run, bases[0], dtype)
        if residual:
            return Restored(update.parts[1].data, dtype, nbytes, predict)
        return Predicted(dtype, nbytes, predict)


def told(vector: NDArray[np.float64], axis: int, base: Numbers) -> Update:
    """The update that multiplies a base by a given vector along one axis, and misses nothing.

    Parameters
    ----------
    vector
        Factors, rounded to binary32 (not for F64): as many as the axis has elements, or one.
    axis
        Axis of ``base.shape``; of no meaning where there is one factor.
    base
        Numbers to multiply.

    Raises
    ------
    ValueError
        When the vector does not fit, is too long or too large, or the numbers are no floats.
    """
    scalar = SCALAR.get(base.dtype, base.dtype)
    with np.errstate(over="ignore", under="ignore"):
        factors = vector.astype(_kind(base.dtype))
    scalars = BITS[base.dtype] // BITS[scalar]
    run = scalars * math.prod(base.shape[axis:][1:] if axis >= 0 else ())
    expected = base.shape[axis] if base.shape and 0 <= axis < len(base.shape) else 1
    if scalar not in MANTISSA or not base.data.size:
        raise ValueError(f"Expected floats to multiply, found {base.dtype} {list(base.shape)}")
    if vector.shape not in ((1,), (expected,)) or not np.isfinite(factors).all():
        raise ValueError(f"Expected {expected} finite factors, found the shape {vector.shape}")
    if factors.nbytes > MAX_VECTOR:
        raise ValueError(f"Expected at most {MAX_VECTOR} bytes, found {factors.nbytes}")
    return _update(factors, run, base)


def _update(factors: Floats, run: int, base: Numbers) -> Update:
    """The update of a vector, which is one number where all are equal."""
    words = factors.view(f"<u{factors.itemsize}")
    if (words == words[0]).all():
        factors, run = factors[:1], base.data.size // word(base.dtype).itemsize
    part = Part(_kind_name(base.dtype), BytesSource(factors.tobytes()))
    return Update((part,), run.to_bytes(8, "little"))


def _kind_name(dtype: str) -> str:
    """The dtype of the factors of a dtype."""
    return "F64" if SCALAR.get(dtype, dtype) == "F64" else "F32"


def _kind(dtype: str) -> np.dtype[Any]:
    return np.dtype("<f8" if _kind_name(dtype) == "F64" else "<f4")


def _predictor(factors: Floats, run: int, base: Source, dtype: str) -> Predict:
    """The products; where one is not finite, the base's number."""
    words, scalar = word(dtype), SCALAR.get(dtype, dtype)

    def predict(first: int, count: int) -> Bits:
        numbers = read_words(base, first, count, words)
        out = np.empty(count, words)
        for at in range(0, count, STEP):
            part = numbers[at : at + STEP]
            out[at : at + STEP] = scaled(
                part, expanded(factors, run, first + at, len(part)), scalar
            )
        return out

    return predict


class _Lazy:
    """A prediction whose vector is read when it is needed."""

    def __init__(self, vector: Source, run: int, base: Source, dtype: str) -> None:
        self._vector, self._run, self._base, self._dtype = vector, run, base, dtype
        self._predict: Predict | None = None

    def __call__(self, first: int, count: int) -> Bits:
        if self._predict is None:
            data = self._vector.read(0, self._vector.size)
            factors = np.frombuffer(data, _kind(self._dtype))
            self._predict = _predictor(factors, self._run, self._base, self._dtype)
        return self._predict(first, count)


def _misses(new: Numbers, predict: Predict) -> bool:
    """Whether a prediction misses anything."""
    words = word(new.dtype)
    total = new.data.size // words.itemsize
    for first in range(0, total, 4 * STEP):
        count = min(4 * STEP, total - first)
        if not np.array_equal(predict(first, count), read_words(new.data, first, count, words)):
            return True
    return False


# ---- looking for the axis ------------------------------------------------------------------------


def _find(new: Numbers, base: Numbers) -> _Found | None:
    """The axis along which factors miss least of a sample; None when they miss much."""
    scalar = SCALAR.get(new.dtype, new.dtype)
    if scalar not in MANTISSA or new.data.size != base.data.size or not new.data.size:
        return None
    width = word(new.dtype).itemsize
    where = [(at // width, nbytes // width) for at, nbytes in windows(new.data.size, new.dtype)]
    best: tuple[float, View] | None = None
    for view in views(new.shape, BITS[new.dtype] // BITS[scalar]):
        if view.groups * _kind(new.dtype).itemsize > MAX_VECTOR:
            continue
        left, unscaled, _, _ = _tried(new, base, view, where[:1])
        if left < WORTH * unscaled and (best is None or left < best[0]):
            best = left, view
    if best is None:
        return None
    left, unscaled, missed, factors = _tried(new, base, best[1], where)
    if left >= WORTH * unscaled:
        return None
    held = guess_of([factors], best[1].groups * _kind(new.dtype).itemsize, _kind_name(new.dtype))
    rest = guess_of(missed, new.data.size, word_name(new.dtype)) if left else 0
    return _Found(best[1], 8 + held + rest)


def _tried(
    new: Numbers, base: Numbers, view: View, where: Sequence[tuple[int, int]]
) -> tuple[float, float, list[bytes], bytes]:
    """What factors miss of a sample, what the base alone does, both in bits; what, and factors."""
    scalar = SCALAR.get(new.dtype, new.dtype)
    left, unscaled, missed, factors = 0.0, 0.0, [], []
    for first, count in where:
        one, other = (_tile(numbers, view, first, count) for numbers in (new, base))
        if one.shape[1] < LEAST // 2:
            return 1.0, 1.0, [], b""
        found = fit(one, other, scalar).factors
        misses = zigzag(one - scaled(other, found[:, None], scalar))
        left, unscaled = left + _bits(misses), unscaled + _bits(zigzag(one - other))
        missed.append(misses.tobytes())
        factors.append(found)
    return left, unscaled, missed, np.concatenate(factors).tobytes()


def _tile(numbers: Numbers, view: View, first: int, count: int) -> Bits:
    """Scalars near number ``first``, about ``count``: a row for each factor."""
    words = word(numbers.dtype)
    rows, width = (
        (view.groups, view.run) if view.outer == 1 else (view.outer, view.groups * view.run)
    )
    high = max(min(count // width, rows), min(LEAST, rows))
    wide = min(width, max(count // high, 1))
    run = min(view.run, wide)
    left = min(first % width, width - wide)
    if view.outer > 1:
        wide, left = wide // run * run, left // view.run * view.run
    top = min(first // width, rows - high)
    if wide == width:
        read = read_words(numbers.data, top * width, high * width, words)
    else:
        starts = ((top + row) * width + left for row in range(high))
        read = np.concatenate([read_words(numbers.data, at, wide, words) for at in starts])
    if view.outer == 1:
        return read.reshape(high, wide)
    columns = read.reshape(high, wide // run, run)
    return np.swapaxes(columns, 0, 1).reshape(wide // run, high * run)


def _bits(missed: Bits) -> float:
    return float(np.log2(missed.astype(np.float64) + 1).sum())
