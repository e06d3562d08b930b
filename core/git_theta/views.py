"""Reads a parameter group through its view of a buffer: contiguous, in bounded memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from git_theta.dtypes import BITS, scalar_bytes
from git_theta.source import Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPAN = 8 * 2**20
"""Bytes of a buffer that are read at once."""

HELD = 4 * SPAN
"""Bytes of a view that are gathered at once where it is read in long blocks."""

CHEAP = 2**18
"""Bytes that are read at once however few of them are elements: more reads would take longer."""

_LONG = 16
"""A read is long when it takes at least this part of what would be held."""


class StridedView(Source):
    """The elements of a strided view of ``buffer``, row-major, in the buffer's byte order.

    A row of a transposed matrix lies scattered over all of the buffer, and so do the next rows,
    right beside it. So whoever reads long blocks in order is given them from rows that were
    gathered together, and held until the last byte of them was read. Threads may read one view:
    each that finds something else held gathers for itself.
    """

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
        self._held: tuple[int, memoryview] = (0, memoryview(b""))

    def _read(self, offset: int, nbytes: int) -> bytes | memoryview:
        if nbytes * _LONG < HELD:
            return self._gather(offset, nbytes)
        pieces = []
        while nbytes:
            piece = self._piece(offset, nbytes)
            pieces.append(piece)
            offset, nbytes = offset + len(piece), nbytes - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _piece(self, offset: int, nbytes: int) -> memoryview:
        """What is held of a range, from its start; gathered first if nothing is."""
        start, held = self._held
        if not start <= offset < start + len(held):
            row = self.size // self._shape[0] if self._shape else self.size
            step = max(HELD // row, 1) * row if row <= HELD else HELD
            start = offset // step * step
            self._held = 0, memoryview(b"")  # freed before the next one is made
            held = memoryview(self._gather(start, min(step, self.size - start)))
        done = offset + nbytes >= start + len(held)
        self._held = (0, memoryview(b"")) if done else (start, held)
        return held[offset - start : offset - start + nbytes]

    def _gather(self, offset: int, nbytes: int) -> bytes | memoryview:
        if not self._shape:
            return self._buffer.read(self._offset * self._item + offset, nbytes)
        row = self.size // self._shape[0]
        first, last = offset // row, -(-(offset + nbytes) // row)
        if (last - first) * row > HELD and last - first == 1:
            return self._row(first)._gather(offset - first * row, nbytes)
        if (last - first) * row > HELD:
            middle = (first + last) // 2 * row
            low = self._gather(offset, middle - offset)
            return b"".join([low, self._gather(middle, offset + nbytes - middle)])
        import numpy as np  # most files have no such view

        out = np.empty((last - first, *self._shape[1:], self._item), np.uint8)
        self._fill(out, self._offset + first * self._strides[0], self._strides)
        return out.reshape(-1).data[offset - first * row : offset - first * row + nbytes]

    def _row(self, index: int) -> StridedView:
        at = self._offset + index * self._strides[0]
        view = StridedView.__new__(StridedView)
        view._buffer, view._item = self._buffer, self._item
        view._offset, view._shape, view._strides = at, self._shape[1:], self._strides[1:]
        view.size, view._held = self.size // self._shape[0], (0, memoryview(b""))
        return view

    def _fill(self, out: NDArray[np.uint8], offset: int, strides: tuple[int, ...]) -> None:
        """Fill ``out``, elements and their bytes in the last axis, from ``offset`` (elements)."""
        import numpy as np

        shape = out.shape[:-1]
        if 0 in shape:
            return
        span = 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        count = math.prod(shape)
        nbytes = span * self._item
        if nbytes <= SPAN and (nbytes <= CHEAP or span <= 4 * count):
            data = self._buffer.read(offset * self._item, nbytes)
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
        import numpy as np  # most files have no such numbers

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
