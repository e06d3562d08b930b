"""Reads a parameter group through its view of a buffer: contiguous, in bounded memory."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from git_theta.dtypes import BITS, scalar_bytes
from git_theta.source import Source

SPAN = 8 * 2**20
"""Bytes of a buffer that are read at once."""


class StridedView(Source):
    """The elements of a strided view of ``buffer``, row-major, in the buffer's byte order."""

    def __init__(
        self,
        buffer: Source,
        dtype: str,
        shape: tuple[int, ...],
        offset: int,
        strides: tuple[int, ...],
    ) -> None:
        self._buffer = buffer
        self._item = BITS[dtype] // 8
        self._offset, self._shape, self._strides = offset, shape, strides
        self.size = math.prod(shape) * self._item

    def _read(self, offset: int, nbytes: int) -> bytes:
        if not self._shape:
            return bytes(self._buffer.read(self._offset * self._item + offset, nbytes))
        row = self.size // self._shape[0]
        first, last = offset // row, -(-(offset + nbytes) // row)
        if (last - first) * row > 4 * SPAN and last - first == 1:
            return bytes(self._row(first)._read(offset - first * row, nbytes))
        if (last - first) * row > 4 * SPAN:
            middle = (first + last) // 2 * row
            return self._read(offset, middle - offset) + self._read(
                middle, offset + nbytes - middle
            )
        out = np.empty((last - first, *self._shape[1:], self._item), np.uint8)
        self._fill(out, self._offset + first * self._strides[0], self._strides)
        data: bytes = out.tobytes()
        return data[offset - first * row : offset - first * row + nbytes]

    def _row(self, index: int) -> StridedView:
        at = self._offset + index * self._strides[0]
        view = StridedView.__new__(StridedView)
        view._buffer, view._item = self._buffer, self._item
        view._offset, view._shape, view._strides = at, self._shape[1:], self._strides[1:]
        view.size = self.size // self._shape[0]
        return view

    def _fill(self, out: NDArray[np.uint8], offset: int, strides: tuple[int, ...]) -> None:
        """Fill ``out``, elements and their bytes in the last axis, from ``offset`` (elements)."""
        shape = out.shape[:-1]
        if 0 in shape:
            return
        span = 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        count = math.prod(shape)
        if span * self._item <= SPAN and (span <= 4 * count or count == 1):
            data = self._buffer.read(offset * self._item, span * self._item)
            base = np.frombuffer(data, np.uint8)
            steps = (*(s * self._item for s in strides), 1)
            out[...] = np.lib.stride_tricks.as_strided(base, out.shape, steps)
            return
        axis = max(range(len(shape)), key=lambda k: (shape[k] > 1, strides[k]))
        middle = shape[axis] // 2
        low, high = np.split(out, [middle], axis)
        self._fill(low, offset, strides)
        self._fill(high, offset + middle * strides[axis], strides)


class Swapped(Source):
    """Big-endian numbers read as little-endian ones, or the other way round."""

    def __init__(self, numbers: Source, dtype: str) -> None:
        self.size = numbers.size
        self._numbers = numbers
        self._width = scalar_bytes(dtype)

    def _read(self, offset: int, nbytes: int) -> bytes:
        width = self._width
        first, last = offset // width * width, -(-(offset + nbytes) // width) * width
        words = np.frombuffer(self._numbers.read(first, last - first), f"<u{width}")
        data: bytes = words.byteswap().tobytes()
        return data[offset - first : offset - first + nbytes]


def swapped(numbers: Source, dtype: str) -> Source:
    """``numbers`` in the other byte order."""
    return Swapped(numbers, dtype) if scalar_bytes(dtype) > 1 else numbers


def view_source(
    buffer: Source,
    dtype: str,
    shape: tuple[int, ...],
    offset: int,
    strides: tuple[int, ...] | None,
) -> Source:
    """A group's elements, contiguous, from the source of its buffer; see ``checkpoint.Tensor``."""
    if strides is None or 0 in shape:
        nbytes = math.prod(shape) * BITS[dtype] // 8
        return buffer.window(offset * BITS[dtype] // 8 if nbytes else 0, nbytes)
    return StridedView(buffer, dtype, shape, offset, strides)
