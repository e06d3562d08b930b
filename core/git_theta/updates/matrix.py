"""Two versions of a matrix, read by rows, and samples of them that are the same every time."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from git_theta.compiled import kernels
from git_theta.dtypes import scalar_bytes
from git_theta.source import BytesSource, Source
from git_theta.updates.elementwise import Floats, widened
from git_theta.updates.interface import Numbers
from git_theta.updates.residual import Bits, read_words, word

BLOCK = 2**18
"""Numbers of a difference that are computed at once."""
_SAMPLE = 2**22
"""Most numbers of a sample."""


class Sample(NamedTuple):
    """Some rows of two versions of a matrix."""

    rows: NDArray[np.int64]
    new: Source
    base: Source


class Matrix(NamedTuple):
    """Two versions of a matrix, read by rows."""

    new: Source
    base: Source
    dtype: str
    rows: int
    columns: int

    def read(self, row: int, rows: int) -> tuple[Bits, Bits]:
        """The bits of some rows of both."""
        words = word(self.dtype)
        first, count = row * self.columns, rows * self.columns
        return read_words(self.new, first, count, words), read_words(self.base, first, count, words)

    def difference(self, row: int, rows: int) -> Floats:
        """``new - base`` of some rows, [rows, columns]; where it is not finite: 0."""
        return subtract(*self.read(row, rows), self.dtype).reshape(rows, self.columns)


def matrix_of(new: Numbers, base: Numbers) -> Matrix | None:
    """Two buffers as matrices, of the first dimension and all others together; None: they are none.

    Where the shape of one is not known, it is taken to be that of the other.
    """
    shape = new.shape if len(new.shape) > 1 else base.shape
    other = base.shape if len(base.shape) > 1 else shape
    if len(shape) < 2 or shape != other or new.data.size != base.data.size:
        return None
    rows, columns = shape[0], math.prod(shape[1:])
    if min(rows, columns) < 4 or rows * columns * scalar_bytes(new.dtype) != new.data.size:
        return None
    return Matrix(new.data, base.data, new.dtype, rows, columns)


def subtract(new_bits: Bits, base_bits: Bits, dtype: str) -> Floats:
    """The difference of numbers, in binary64 for long dtypes; where it is not finite: 0."""
    if kernels and dtype in ("BF16", "F32"):
        return kernels.subtract(new_bits, base_bits)
    new, base = widened(new_bits, dtype), widened(base_bits, dtype)
    with np.errstate(all="ignore"):
        difference: Floats = (new.astype("<f8") if dtype == "F32" else new) - base
        if not np.isfinite(np.vdot(difference, difference)):
            difference[~np.isfinite(difference)] = 0
    return difference


def sample_rows(matrix: Matrix, count: int, windows: int = 4) -> Sample:
    """About ``count`` numbers of each, in a few windows of whole rows."""
    each = min(max(1, count // matrix.columns // windows), max(1, matrix.rows // windows))
    starts = [round(k * (matrix.rows - each) / max(1, windows - 1)) for k in range(windows)]
    found = [matrix.read(start, each) for start in dict.fromkeys(starts)]
    rows = np.concatenate([np.arange(start, start + each) for start in dict.fromkeys(starts)])
    return Sample(
        rows,
        BytesSource(b"".join(bytes(pair[0].data) for pair in found)),
        BytesSource(b"".join(bytes(pair[1].data) for pair in found)),
    )


def sampled_difference(matrix: Matrix, rows: int) -> Floats:
    """The difference in about so many rows, in four windows, and in all or some columns."""
    every = max(1, rows * matrix.columns // _SAMPLE)  # of so many columns one is taken
    each = max(1, min(rows, matrix.rows) // 4)
    step = max(1, BLOCK // matrix.columns)
    taken = []
    for k in range(4):
        start = round(k * (matrix.rows - each) / 3)
        for row in range(start, start + each, step):
            found = matrix.difference(row, min(step, start + each - row))
            taken.append(np.ascontiguousarray(found[:, ::every]))
    return np.concatenate(taken)


def corner(matrix: Matrix) -> tuple[Bits, Bits]:
    """The bits of about 96 rows of both, in four windows, and in at most 2048 columns."""
    each = max(1, min(24, matrix.rows // 4))
    found = []
    for k in range(4):
        pair = matrix.read(round(k * (matrix.rows - each) / 3), each)
        found.append([bits.reshape(each, -1)[:, :2048] for bits in pair])
    return np.concatenate([a for a, _ in found]), np.concatenate([b for _, b in found])
