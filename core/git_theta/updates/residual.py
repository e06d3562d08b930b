"""Numbers told as the difference to a prediction: what delta, low-rank, scale and recipe share.

A prediction is the bits of numbers, as unsigned integers. The residual is ``new - predicted``
modulo 2^w, in zigzag order (0, -1, 1, -2, ...): floats that lie near each other have bits that lie
near each other, so what is left is small, and any bits at all, NaNs too, come back exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from git_theta.dtypes import scalar_bytes
from git_theta.errors import PackError
from git_theta.source import Source

Bits = NDArray[Any]
"""Unsigned integers, little-endian."""
Predict = Callable[[int, int], Bits]
"""The predicted bits of ``count`` scalars from number ``first``: ``predict(first, count)``."""

STEP = 2**16
"""Scalars that are worked on at once, few enough to stay in the processor's cache."""


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


class _ByScalars(Source):
    """A source that computes whole scalars, a step at a time."""

    def __init__(self, count: int, words: np.dtype[Any], predict: Predict) -> None:
        self.size = count * words.itemsize
        self._words, self._predict = words, predict

    def _compute(self, first: int, count: int, out: Bits) -> None:
        """Fill ``out`` with the scalars from ``first``."""
        raise NotImplementedError

    def _read(self, offset: int, nbytes: int) -> memoryview:
        width = self._words.itemsize
        first, last = offset // width, -(-(offset + nbytes) // width)
        out = np.empty(last - first, self._words)
        self._compute(first, last - first, out)
        at = offset - first * width
        return out.data.cast("B")[at : at + nbytes]


class Residual(_ByScalars):
    """What a prediction misses of numbers."""

    def __init__(self, new: Source, dtype: str, predict: Predict) -> None:
        words = word(dtype)
        super().__init__(new.size // words.itemsize, words, predict)
        self._new = new

    def _compute(self, first: int, count: int, out: Bits) -> None:
        new = read_words(self._new, first, count, self._words)
        predicted = self._predict(first, count)
        signed = self._words.str.replace("u", "i")
        for at in range(0, count, STEP):
            here = slice(at, at + STEP)
            difference = new[here] - predicted[here]
            sign = difference.view(signed) >> (8 * self._words.itemsize - 1)
            np.left_shift(difference, 1, out=out[here])
            out[here] ^= sign.view(self._words)


class Restored(_ByScalars):
    """Numbers, from a prediction and what it misses.

    Raises
    ------
    PackError
        When the residual is not as long as the numbers.
    """

    def __init__(self, residual: Source, dtype: str, nbytes: int, predict: Predict) -> None:
        words = word(dtype)
        if residual.size != nbytes or nbytes % words.itemsize:
            raise PackError(f"Expected a residual of {nbytes} bytes, found {residual.size}")
        super().__init__(nbytes // words.itemsize, words, predict)
        self._residual = residual

    def _compute(self, first: int, count: int, out: Bits) -> None:
        zigzag = read_words(self._residual, first, count, self._words)
        predicted = self._predict(first, count)
        one = self._words.type(1)
        for at in range(0, count, STEP):
            here = slice(at, at + STEP)
            np.right_shift(zigzag[here], one, out=out[here])
            out[here] ^= -(zigzag[here] & one)
            out[here] += predicted[here]


class Predicted(_ByScalars):
    """Numbers of which the prediction misses nothing."""

    def __init__(self, dtype: str, nbytes: int, predict: Predict) -> None:
        words = word(dtype)
        if nbytes % words.itemsize:
            raise PackError(f"Expected whole numbers of {dtype}, found {nbytes} bytes of them")
        super().__init__(nbytes // words.itemsize, words, predict)

    def _compute(self, first: int, count: int, out: Bits) -> None:
        out[:] = self._predict(first, count)
