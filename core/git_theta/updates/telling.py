"""What a user tells of a group, checked against the group: the fields of the builtin update types.

Their names and their meaning are those of the original Git-Theta: ``R @ C`` is added, ``data`` is
added at ``indices``, ``ia3`` is multiplied.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from git_theta.errors import UpdateFileError
from git_theta.updates.arrays import floats, integers
from git_theta.updates.elementwise import MANTISSA, narrowed, widened
from git_theta.updates.interface import Numbers
from git_theta.updates.residual import Bits, read_words, word

FACTORS = ("R", "C")
CHANGES = ("data", "indices", "indptr", "shape")
SCALING = ("ia3",)

MAX_CHANGES = 2**22
"""Most numbers of a group that are told one by one."""

_RUN = 2**20
"""Numbers that are looked at at once."""
_SMALL = 1e30
"""Far below the largest number of the dtypes with long exponents."""


class Changes(NamedTuple):
    """Some numbers of a group and what they become."""

    positions: NDArray[np.int64]
    """Ascending."""
    values: Bits


def told_factors(
    base: Numbers, fields: Mapping[str, Numbers], max_rank: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """``R`` [rows, rank] and ``C`` [rank, columns], whose product is added; None: it is zero.

    A group of more than two dimensions is a matrix of its first and all others.

    Raises
    ------
    UpdateFileError
        When they do not fit the base, or the sum is beyond its dtype.
    """
    _check_float(base)
    left, right = (floats(fields[name], name) for name in FACTORS)
    right = right.reshape(len(right), -1) if right.ndim > 2 else right
    rows, columns = (base.shape[0], math.prod(base.shape[1:])) if len(base.shape) > 1 else (0, 0)
    rank = left.shape[1] if left.ndim == 2 else 0
    if not rows * columns:
        raise UpdateFileError(f"Expected a matrix to add R @ C to, found {list(base.shape)}")
    if (left.shape, right.shape) != ((rows, rank), (rank, columns)) or not 0 < rank <= max_rank:
        raise UpdateFileError(
            f"Expected R of shape [{rows}, rank] and C of shape [rank, {columns}], the rank from 1 "
            f"to {max_rank}, found {list(fields['R'].shape)} and {list(fields['C'].shape)}"
        )
    if not left.any() or not right.any():
        return None
    _check_sum(base, left, right)
    return left, right


def told_changes(base: Numbers, fields: Mapping[str, Numbers]) -> Changes | None:
    """Numbers that a SciPy CSR matrix changes by adding its own; None: it has none.

    The matrix is one row of all numbers, row-major, as the original Git-Theta writes it, or has as
    many rows as the group. ``shape`` is the group's.

    Raises
    ------
    UpdateFileError
        When it does not fit the base, or a sum is beyond its dtype.
    """
    _check_float(base)
    data = floats(fields["data"], "data", MAX_CHANGES)
    indices, starts, shape = (integers(fields[name], name, MAX_CHANGES) for name in CHANGES[1:])
    if tuple(shape.ravel().tolist()) != base.shape:
        raise UpdateFileError(
            f"Expected the shape {list(base.shape)}, found {shape.ravel().tolist()}"
        )
    total, rows = math.prod(base.shape), starts.size - 1
    columns = total // rows if rows > 0 and rows in (1, *base.shape[:1]) else 0
    steps = np.diff(starts.ravel())
    whole = data.ndim == indices.ndim == starts.ndim == 1 and data.size == indices.size
    if not whole or not columns or starts[0] or starts[-1] != data.size or (steps < 0).any():
        raise UpdateFileError(
            "Expected data and indices of one length, and an indptr that cuts them into 1 row"
            f"{f' or {base.shape[0]}' if base.shape else ''}, found lengths {list(data.shape)}, "
            f"{list(indices.shape)} and {list(starts.shape)}"
        )
    if data.size and not 0 <= indices.min() <= indices.max() < columns:
        raise UpdateFileError(f"Expected indices below {columns}, found {indices.max()}")
    if rows > 1:
        indices += np.repeat(np.arange(rows) * columns, steps)
    if not _ascending(indices):  # rarely: it takes much memory
        order = np.argsort(indices)
        indices, data = indices[order], data[order]
        if not _ascending(indices):
            raise UpdateFileError("Expected each index once, found one twice")
    return _added(base, indices, data) if data.any() else None


def _ascending(numbers: NDArray[np.int64]) -> bool:
    return bool((numbers[1:] > numbers[:-1]).all())


def _added(base: Numbers, positions: NDArray[np.int64], data: NDArray[np.float64]) -> Changes:
    words = word(base.dtype)
    values = np.empty(len(positions), words)
    first, total = 0, base.data.size // words.itemsize
    for at in range(0, total, _RUN):
        last = int(np.searchsorted(positions, at + _RUN))
        if last > first:
            numbers = read_words(base.data, at, min(_RUN, total - at), words)
            old = widened(numbers[positions[first:last] - at], base.dtype).astype("<f8")
            values[first:last] = _narrowed(old + data[first:last], base.dtype)
        first = last
    return Changes(positions, values)


def told_scaling(base: Numbers, fields: Mapping[str, Numbers]) -> tuple[NDArray[np.float64], int]:
    """``ia3``, a vector along one axis of the group that is multiplied, and the axis.

    By NumPy's rules: the last axes meet, and an axis of one element is repeated.

    Raises
    ------
    UpdateFileError
        When it does not fit the base, or is no vector.
    """
    _check_float(base)
    values = floats(fields["ia3"], "ia3")
    shape = (1,) * (len(base.shape) - values.ndim) + values.shape
    long = [axis for axis, size in enumerate(shape) if size > 1]
    fits = len(shape) == len(base.shape) and all(
        size in (1, whole) for size, whole in zip(shape, base.shape, strict=True)
    )
    if not values.size or not fits or len(long) > 1:
        raise UpdateFileError(
            f"Expected a vector along one axis of a group of shape {list(base.shape)}, "
            f"found ia3 of shape {list(values.shape)}"
        )
    axis = long[0] if long else len(base.shape) - 1
    flat = values.ravel()
    return (flat if long or not base.shape else np.repeat(flat, base.shape[axis])), axis


def _check_float(base: Numbers) -> None:
    if base.dtype not in MANTISSA:
        raise UpdateFileError(f"Expected a group of floats, found {base.dtype}")


def _check_sum(base: Numbers, left: NDArray[np.float64], right: NDArray[np.float64]) -> None:
    """Refuse a product that leaves the dtype; where the base itself is not finite, it stays."""
    norms = np.linalg.norm(left, axis=1).max(), np.linalg.norm(right, axis=0).max()
    if base.dtype in ("F64", "F32", "BF16") and norms[0] * norms[1] < _SMALL:
        return
    words, columns = word(base.dtype), right.shape[1]
    step = max(1, _RUN // columns)
    for row in range(0, len(left), step):
        product = (left[row : row + step] @ right).ravel()
        bits = read_words(base.data, row * columns, product.size, words)
        old = widened(bits, base.dtype).astype("<f8")
        kept = np.isfinite(old)
        _narrowed(old[kept] + product[kept], base.dtype)


def _narrowed(values: NDArray[np.float64], dtype: str) -> Bits:
    with np.errstate(over="ignore", under="ignore"):
        wide = values if dtype in ("F32", "F64") else values.astype("<f4")
    bits, finite = narrowed(wide, dtype)
    if not finite.all():
        raise UpdateFileError(f"The update makes numbers that are too large for {dtype}")
    return bits
