"""Numbers told as the difference to a prediction: what delta, low-rank, scale and recipe share.

A prediction is the bits of numbers, as unsigned integers. The residual is ``new - predicted``
modulo 2^w, in zigzag order (0, -1, 1, -2, ...): floats that lie near each other have bits that lie
near each other, so what is left is small, and any bits at all, NaNs too, come back exactly.

The same step is many units in the last place of a small number and few of a large one. So each
block of a residual is sorted by the exponents of the prediction, which both sides know: what lies
together then is alike, and compresses better (BF16, small steps: 0.033 of the numbers' bytes
instead of 0.077).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from git_theta.compiled import kernels
from git_theta.dtypes import BITS, SCALAR, scalar_bytes
from git_theta.errors import PackError
from git_theta.recent import recent
from git_theta.source import Source

Bits = NDArray[Any]
"""Unsigned integers, little-endian."""
Predict = Callable[[int, int], Bits]
"""The predicted bits of ``count`` scalars from number ``first``: ``predict(first, count)``."""

BLOCK = 2**18
"""Scalars that are sorted together."""
_EXPONENT = {"F64": (52, 0x7FF), "F32": (23, 0xFF), "BF16": (7, 0xFF), "F16": (7, 0xFF)}
_EXPONENT |= {name: (0, 0x7F) for name in BITS if name.startswith("F8_")}


def word(dtype: str) -> np.dtype[Any]:
    """The unsigned integers that hold a dtype's scalars (a complex number is two of them)."""
    return np.dtype(f"<u{scalar_bytes(dtype)}")


def word_name(dtype: str) -> str:
    """safetensors' name of :func:`word`: the dtype of a residual."""
    return f"U{8 * scalar_bytes(dtype)}"


def read_words(data: Source, first: int, count: int, words: np.dtype[Any]) -> Bits:
    """Scalars of a source as integers."""
    width = words.itemsize
    return np.frombuffer(data.read(first * width, count * width), words)


def zigzag(differences: Bits) -> Bits:
    """Differences modulo 2^w, those near zero from either side as small numbers: 2x or -2x - 1."""
    words = differences.dtype
    sign = differences.view(words.str.replace("u", "i")) >> (8 * words.itemsize - 1)
    numbers: Bits = differences << words.type(1)
    numbers ^= sign.view(words)
    return numbers


def residual_of(new: Bits, predicted: Bits, dtype: str) -> Bits:
    """A block of a residual as it is stored."""
    if np.array_equal(new, predicted):  # where a formula tells all of it: nothing to sort
        return np.zeros_like(new)
    if kernels:
        stored = np.empty(new.shape, new.dtype)
        kernels.missed(new, predicted, *_sorted_by(dtype), stored)
        return stored
    missed = zigzag(new - predicted)
    order = _order(predicted, dtype)
    return missed if order is None else missed[order]


def zigzag_undone(numbers: Bits) -> Bits:
    """The differences of which :func:`zigzag` made ``numbers``."""
    one = numbers.dtype.type(1)
    differences: Bits = numbers >> one
    differences ^= -(numbers & one)
    return differences


def _order(predicted: Bits, dtype: str) -> NDArray[np.intp] | None:
    """The order in which a block of a residual is stored; None: as it is."""
    shift, mask = _sorted_by(dtype)
    if not mask:
        return None
    keys = (predicted >> shift) & mask
    return np.argsort(keys.astype(np.uint8 if mask < 256 else np.uint16), kind="stable")


def _sorted_by(dtype: str) -> tuple[int, int]:
    """Where the exponent lies in a scalar's bits, and its mask: 0 where nothing is sorted."""
    return _EXPONENT.get(SCALAR.get(dtype, dtype), (0, 0))


class _ByScalars(Source):
    """A source that computes scalars, some at a time."""

    def __init__(self, nbytes: int, dtype: str, predict: Predict) -> None:
        self.size, self._dtype, self._predict = nbytes, dtype, predict
        self._words = word(dtype)
        if nbytes % self._words.itemsize:
            raise PackError(f"Expected whole numbers of {dtype}, found {nbytes} bytes of them")

    def _read(self, offset: int, nbytes: int) -> memoryview:
        width = self._words.itemsize
        first, last = offset // width, -(-(offset + nbytes) // width)
        at = offset - first * width
        return self._compute(first, last - first).data.cast("B")[at : at + nbytes]

    @abstractmethod
    def _compute(self, first: int, count: int) -> Bits:
        """The scalars from ``first``, in one run of memory."""


class _ByBlocks(_ByScalars):
    """One that computes whole blocks."""

    @abstractmethod
    def _compute_block(self, first: int, out: Bits) -> None:
        """Fill ``out`` with the block from ``first``."""

    def _block(self, start: int, count: int) -> Bits:
        """A block of which a part is read: the others may be read soon."""
        kept = recent.get(self, start)
        if kept is None:
            block = np.empty(count, self._words)
            self._compute_block(start, block)
            recent.put(self, start, block.data.cast("B"))
            return block
        return np.frombuffer(kept, self._words)

    def _compute(self, first: int, count: int) -> Bits:
        out = np.empty(count, self._words)
        total, end = self.size // self._words.itemsize, first + count
        for start in range(first // BLOCK * BLOCK, end, BLOCK):
            stop = min(start + BLOCK, total)
            if first <= start and stop <= end:
                self._compute_block(start, out[start - first : stop - first])
                continue
            block = self._block(start, stop - start)
            low, high = max(first, start), min(end, stop)
            out[low - first : high - first] = block[low - start : high - start]
        return out


class Residual(_ByBlocks):
    """What a prediction misses of numbers."""

    def __init__(self, new: Source, dtype: str, predict: Predict) -> None:
        super().__init__(new.size, dtype, predict)
        self._new = new

    def _compute_block(self, first: int, out: Bits) -> None:
        predicted = self._predict(first, len(out))
        new = read_words(self._new, first, len(out), self._words)
        out[:] = residual_of(new, predicted, self._dtype)


class Restored(_ByBlocks):
    """Numbers, from a prediction and what it misses.

    Raises
    ------
    PackError
        When the residual is not as long as the numbers.
    """

    def __init__(self, residual: Source, dtype: str, nbytes: int, predict: Predict) -> None:
        if residual.size != nbytes:
            raise PackError(f"Expected a residual of {nbytes} bytes, found {residual.size}")
        super().__init__(nbytes, dtype, predict)
        self._residual = residual

    def _compute_block(self, first: int, out: Bits) -> None:
        predicted = self._predict(first, len(out))
        stored = read_words(self._residual, first, len(out), self._words)
        if not stored.any():  # in whichever order
            out[:] = predicted
            return
        if kernels:
            kernels.restored(stored, predicted, *_sorted_by(self._dtype), out)
            return
        missed = zigzag_undone(stored)
        order = _order(predicted, self._dtype)
        if order is None:
            out[:] = missed
        else:
            out[order] = missed
        out += predicted


class Predicted(_ByScalars):
    """Numbers of which the prediction misses nothing."""

    def __init__(self, dtype: str, nbytes: int, predict: Predict) -> None:
        super().__init__(nbytes, dtype, predict)

    def _compute(self, first: int, count: int) -> Bits:
        return self._predict(first, count)
