"""Two factors of integers whose product is exact in floating point, and what they predict.

A float holds integers up to 2^24 (binary32) or 2^53 (binary64). Where no sum of products exceeds
that, in whatever order it is summed, a matrix product has one possible result: with any BLAS, any
number of threads, fused multiply-adds or none. Scales are powers of two, so they change no digit.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from git_theta.compiled import kernels
from git_theta.errors import PackError
from git_theta.recent import Recent
from git_theta.source import BytesSource, Source
from git_theta.updates.elementwise import MANTISSA, Floats, narrow_into, widened
from git_theta.updates.interface import Part, Update, check_parts
from git_theta.updates.residual import Bits, Predict, read_words, word

TILE = 2**18
"""Numbers that numpy predicts at once: products of fewer rows take longer than the cache saves."""


class Arithmetic(NamedTuple):
    """The floats that a prediction is computed in."""

    real: str
    """numpy's name of the float."""
    integer: str
    """numpy's name of the integers that factors are stored as."""
    dtype: str
    """safetensors' name of those."""
    digits: int
    """No sum of products exceeds 2^digits."""
    exponents: tuple[int, int]
    """Least and greatest exponent of a scale: no product, no sum under- or overflows."""


DTYPES = frozenset(MANTISSA)
"""The dtypes of matrices that factors are found for."""
WIDE = frozenset({"F32", "F64"})
"""Those that need binary64."""
MAX_RANK = 256
"""The greatest rank of an update."""
MAX_ENTRIES = 2**22
"""Entries of both factors together: they are held while anything is decoded."""

Reals = Callable[[], tuple[Floats, Floats]]
"""What tells both factors of a matrix."""
KEPT = 64 * 2**20
"""Bytes of factors that stay once read: those of matrices that stand on each other take turns."""

_recent = Recent(KEPT)
_PARAMS = struct.Struct("<IHB")
SINGLE = Arithmetic("<f4", "<i2", "I16", 24, (-62, 50))
DOUBLE = Arithmetic("<f8", "<i4", "I32", 53, (-500, 450))


class Factors(NamedTuple):
    """The integers and scales of a low-rank matrix."""

    left: NDArray[Any]
    """[rows, rank], integers."""
    right: NDArray[Any]
    """[rank, columns], integers."""
    row_scale: NDArray[Any]
    """[rows], exponents of two."""
    column_scale: NDArray[Any]
    """[columns], exponents of two."""
    arithmetic: Arithmetic

    def check(self) -> Factors:
        """Check that products are exact and scales in range.

        By the Cauchy-Schwarz inequality no sum of some of the products of a row and a column
        exceeds the product of their norms, which rounding of the squares' sums must not hide.

        Raises
        ------
        PackError
            When they are not.
        """
        least, greatest = self.arithmetic.exponents
        norms = _square(self.left, 1) * _square(self.right, 0)
        if norms * (1 + 2.0**-40) > 4.0**self.arithmetic.digits:
            raise PackError(
                f"Expected factors with products below 2^{self.arithmetic.digits}, "
                f"found norms whose squares have a product of {norms}"
            )
        for scale in (self.row_scale, self.column_scale):
            if scale.min() < least or scale.max() > greatest:
                raise PackError(
                    f"Expected scales from 2^{least} to 2^{greatest}, "
                    f"found 2^{scale.min()} to 2^{scale.max()}"
                )
        return self

    def of_rows(self, rows: NDArray[Any]) -> Factors:
        """The factors of some rows of the matrix."""
        return self._replace(left=self.left[rows], row_scale=self.row_scale[rows])

    def params(self) -> bytes:
        """What tells an update's parts."""
        rank, columns = self.right.shape
        return _PARAMS.pack(columns, rank, self.arithmetic.digits)

    def parts(self) -> tuple[Part, Part]:
        """The scales of rows and columns, and the entries of both factors."""
        scales = np.concatenate([self.row_scale, self.column_scale]).astype("<i2")
        entries = np.concatenate([self.left.reshape(-1), self.right.reshape(-1)])
        return (
            Part("I16", BytesSource(scales.tobytes())),
            Part(self.arithmetic.dtype, BytesSource(entries.tobytes())),
        )

    def reals(self) -> tuple[Floats, Floats]:
        """Both factors with their scales: exact."""
        real = self.arithmetic.real
        left = np.ldexp(self.left.astype(real), self.row_scale.astype("i4")[:, None])
        right = np.ldexp(self.right.astype(real), self.column_scale.astype("i4"))
        return np.ascontiguousarray(left), np.ascontiguousarray(right)


def parse_factors(update: Update, dtype: str, count: int) -> Reals:
    """What reads the factors of a matrix of ``count`` numbers, from an update that may be hostile.

    They are read when they are needed, by whoever works on the matrix, and kept for a while.

    Raises
    ------
    PackError
        When params or the first two parts are not those of such factors; when they are read, where
        products would not be exact.
    """
    if len(update.params) != _PARAMS.size:
        raise PackError(f"Expected {_PARAMS.size} bytes of params, found {len(update.params)}")
    columns, rank, digits = _PARAMS.unpack(update.params)
    arithmetic = {24: SINGLE, 53: DOUBLE}.get(digits)
    if arithmetic is None or (arithmetic is SINGLE and dtype in WIDE):
        raise PackError(f"Expected 53 digits, or 24 for short floats, found {digits} for {dtype}")
    if not count or not columns or count % columns or not 0 < rank <= MAX_RANK:
        raise PackError(f"Expected rows of {count} numbers, found {columns} columns, rank {rank}")
    rows = count // columns
    entries, width = (rows + columns) * rank, np.dtype(arithmetic.integer).itemsize
    if entries > MAX_ENTRIES:
        raise PackError(f"Expected at most {MAX_ENTRIES} entries of factors, found {entries}")
    expected = [("I16", 2 * (rows + columns)), (arithmetic.dtype, width * entries)]
    check_parts(Update(update.parts[:2]), expected)

    def read() -> Factors:
        scales, whole = (
            np.frombuffer(part.data.read(0, part.data.size), kind)
            for part, kind in zip(update.parts[:2], ("<i2", arithmetic.integer), strict=True)
        )
        left = whole[: rows * rank].reshape(rows, rank)
        right = whole[rows * rank :].reshape(rank, columns)
        return Factors(left, right, scales[:rows], scales[rows:], arithmetic).check()

    return _Kept(read).read


def _square(integers: NDArray[Any], axis: int) -> float:
    """The greatest squared norm along an axis, to 12 digits at least."""
    total = np.zeros(integers.shape[1 - axis])
    for vector in np.moveaxis(integers, axis, 0):
        real = vector.astype(np.float64)
        real *= real
        total += real
    return float(total.max(initial=0))


class _Kept:
    """Factors that are used again and again, until others are: a file has many matrices."""

    def __init__(self, factors: Callable[[], Factors]) -> None:
        self._factors = factors
        self._key = object()  # what is kept must not keep all of the update
        self._lock = Lock()  # two threads would take twice the memory

    def read(self) -> tuple[Floats, Floats]:
        """Both factors with their scales."""
        with self._lock:
            left, right = _recent.get(self._key, 0), _recent.get(self._key, 1)
            if left is not None and right is not None:
                return np.asarray(left), np.asarray(right)
            both = self._factors().reals()
            for number, factor in enumerate(both):
                _recent.put(self._key, number, factor.data)
            return both


def predictor(reals: Reals, base: Source, dtype: str) -> Predict:
    """The prediction ``round(base + left @ right)``, for any run of its numbers."""
    words = word(dtype)

    def predict(first: int, count: int) -> Bits:
        left, right = reals()
        bits = read_words(base, first, count, words)
        out = np.empty(count, words)
        compiled = kernels if kernels and kernels.multiplies(right, dtype) else None
        tile = count if compiled else TILE
        for at, end, row, rows, column, width in _tiles(first, count, right.shape[1], tile):
            some, others = left[row : row + rows], right[:, column : column + width]
            base_bits, result = bits[at:end], out[at:end]
            if compiled:
                compiled.low_rank(some, others, base_bits, dtype, result)
                continue
            values = np.empty(end - at, left.dtype)
            np.matmul(some, others, values.reshape(rows, width))
            add(values, base_bits, dtype, result)
        return out

    return predict


def add(values: Floats, base: Bits, dtype: str, out: Bits) -> None:
    """Add numbers to those of a base, and round: where that is not finite, the base's stay."""
    with np.errstate(all="ignore"):
        values += widened(base, dtype)
        values += 0.0  # a sum of zeros is positive, whatever signs the product's zeros have
        narrow_into(out, values, base, dtype)


def _tiles(
    first: int, count: int, columns: int, tile: int
) -> Iterator[tuple[int, int, int, int, int, int]]:
    """Cut a run of numbers into rectangles: start, end, row, rows, column, columns of each."""
    at = 0
    while at < count:
        row, column = divmod(first + at, columns)
        left = count - at
        if column or left < columns or columns > tile:
            rows, width = 1, min(columns - column, left, tile)
        else:
            rows, width = min(left // columns, tile // columns), columns
        yield at, at + rows * width, row, rows, column, width
        at += rows * width
