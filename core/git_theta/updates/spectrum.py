"""Finds the factors of a difference of nearly low rank, from the numbers alone.

A sample of rows tells the rank and, roughly, the space of the rows; one pass over the difference
sharpens both (subspace iteration: Halko, Martinsson and Tropp, 2011, section 4.5). Nothing that is
found here needs to be exact or the same on every machine: what it misses is in the residual.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import blake3
import numpy as np
from numpy.typing import NDArray

from git_theta.updates.elementwise import Floats
from git_theta.updates.factors import MAX_ENTRIES, MAX_RANK
from git_theta.updates.matrix import BLOCK, Matrix, sampled_difference
from git_theta.updates.products import eigen, whiten
from git_theta.updates.sharpen import sharpen

_ROWS = 1024
"""Rows from which the space of all is found."""
_JUDGED = 192
"""Rows from which the noise is told, at most."""
_SHORT = 2**21
"""Numbers of a matrix for which another pass is cheap."""


class Space(NamedTuple):
    """What the rows of a sample have in common."""

    values: Floats
    """The greatest singular values of the sample, squared, greatest first."""
    vectors: Floats
    """[rows of the sample, as many]: its left singular vectors."""
    rank: int
    """How many stand out of the noise."""
    rest: float
    """The sum of the squares of all others."""


def space_of(sample: Floats) -> Space:
    """The greatest singular values of a sample, by as few of them as show where noise begins."""
    gram = (sample @ sample.T).astype("<f8")
    rows = len(sample)
    few, many = sorted(sample.shape)
    whole = max(float(np.trace(gram)), 1e-300)
    # No noise is below what rounding of the sums leaves.
    floor = (1e-13 if sample.dtype.itemsize == 8 else 1e-6) * whole / few
    looked = min(rows, 32)
    while True:
        values, vectors = _greatest(gram, looked)
        rest = np.maximum(whole - np.cumsum(values), 0)  # what is left by as many
        noise = np.maximum(rest / np.maximum(few - 1 - np.arange(looked), 1), floor)
        stands = values > 1.6 * noise * (1 + math.sqrt(few / many)) ** 2
        stands = np.flatnonzero(stands[: few // 2])  # noise is told from as many at least
        rank = int(stands[-1]) + 1 if stands.size else 0
        if rank < looked - 4 or looked > rows // 2:
            left = float(rest[rank - 1]) if rank else whole
            return Space(values, vectors, rank, max(left, floor))
        looked = min(2 * looked, rows)


def _greatest(gram: Floats, count: int) -> tuple[Floats, Floats]:
    """The greatest eigenvalues of a matrix and their vectors, by subspace iteration."""
    space: Floats = _anything(len(gram), count).astype(gram.dtype)
    for _ in range(4):
        space = gram @ space
        space = space @ whiten(space.T @ space)
    space = space @ whiten(space.T @ space)  # once more for what rounding left
    values, turn = eigen(space.T @ (gram @ space))
    return values, space @ turn


def _anything(rows: int, columns: int) -> NDArray[np.int8]:
    """Signs without a pattern, 1 or -1, the same every time: numpy.random is imported in 10 ms."""
    count = rows * columns
    bits = np.frombuffer(blake3.blake3(b"signs").digest(-(-count // 8)), np.uint8)
    signs = 2 * np.unpackbits(bits, count=count).astype(np.int8) - 1
    return signs.reshape(rows, columns)


def _start(matrix: Matrix, limit: int) -> Floats | None:
    """Roughly the space of the difference's rows, [columns, a few more than the rank].

    None: there is no low rank, or telling it costs more than it saves.
    """
    rows = min(matrix.rows, 256)
    sample = sampled_difference(matrix, rows)
    space = space_of(sample)
    if space.rank > rows // 3 and rows < min(matrix.rows, 4 * limit):
        sample = sampled_difference(matrix, 4 * limit)
        space = space_of(sample)
    rank = space.rank
    if not rank or not pays(matrix, space, limit):
        return None
    wanted = min(rank + 8 + rank // 4, len(space.values), 2 * limit)
    if sample.shape[1] < matrix.columns:
        return _anything(matrix.columns, wanted).astype(sample.dtype)
    top = space.values[:wanted]
    scale = 1 / np.maximum(top, 1e-12 * top[0])
    found: Floats = sample.T @ (space.vectors[:, :wanted] * scale).astype(sample.dtype)
    return found


def pays(matrix: Matrix, space: Space, limit: int) -> bool:
    """Whether what the space takes out of the numbers is more than what its factors cost."""
    saved = math.log2(1 + float(space.values[: space.rank].sum()) / space.rest) / 2
    cost = 10.0 * space.rank * (matrix.rows + matrix.columns)  # bits, as saved is for a number
    return space.rank <= 2 * limit and saved * matrix.rows * matrix.columns > cost


class _Found(NamedTuple):
    """A singular value decomposition of some rows, cut off."""

    left: Floats
    """[rows of the first block, as many as were looked for], times the values."""
    values: Floats
    """Singular values as all rows have them, greatest first."""
    right: Floats
    """[as many, columns], orthonormal rows."""


def _improve(matrix: Matrix, start: Floats) -> _Found:
    """Project rows on a space, and fit all columns to what comes out.

    Of a tall matrix, a part of the rows suffices to find the space of all.
    """
    wanted = start.shape[1]
    right = np.zeros((wanted, matrix.columns), start.dtype)
    gram = np.zeros((wanted, wanted))
    step = max(1, BLOCK // matrix.columns)
    every = max(1, matrix.rows // max(_ROWS, 16 * wanted, 2 * step))
    first, seen = np.empty((0, wanted), start.dtype), 0
    for row in range(0, matrix.rows, step * every):
        block = matrix.difference(row, min(step, matrix.rows - row))
        projected = block @ start
        first = first if seen else projected
        seen += len(block)
        gram += projected.T @ projected
        right += projected.T @ block
    straight = whiten(gram)
    fitted = straight.T @ right.astype("<f8")
    squares, turn = eigen(fitted @ fitted.T)
    values = np.sqrt(np.maximum(squares, 1e-300))
    return _Found(
        first.astype("<f8") @ (straight @ turn) * values,
        values * math.sqrt(matrix.rows / seen),
        (turn.T @ fitted) / values[:, None],
    )


def _rank(matrix: Matrix, found: _Found) -> tuple[int, bool]:
    """How many singular values stand out of the noise, and whether that is certain."""
    some = _scattered(len(found.left))
    missed = matrix.difference(0, len(found.left))[some] - found.left[some] @ found.right
    noise = float(np.sqrt(np.mean(missed * missed)))
    edge = 1.5 * noise * (math.sqrt(matrix.rows) + math.sqrt(matrix.columns))
    edge = max(edge, 3e-8 * float(found.values[0]))  # squares have lost what is below
    rank = int((found.values > edge).sum())
    faint = np.flatnonzero(
        (found.values[1:] < 4 * edge) & (found.values[1:] < found.values[:-1] / 6)
    )
    if faint.size:  # what rounding makes of small entries has a rank, too
        rank = min(rank, int(faint[0]) + 1)
    if not rank < len(found.values):
        return rank, False
    near = (found.values > 0.8 * edge) & (found.values < 2 * edge)
    clear = rank and found.values[rank - 1] > 6 * found.values[rank]  # whatever noise there is
    return rank, bool(clear or not near.any())


def _scattered(rows: int) -> NDArray[np.intp]:
    """Some of the rows, in no regular distance: every third may be of another kind."""
    places = np.arange(min(rows, _JUDGED)) * ((math.sqrt(5) - 1) / 2) % 1
    return np.unique((places * rows).astype(np.intp))


def limit_of(matrix: Matrix) -> int:
    """The greatest rank that is looked for."""
    rows, columns = matrix.rows, matrix.columns
    return min(MAX_RANK, min(rows, columns) // 4, MAX_ENTRIES // (rows + columns))


def find_factors(matrix: Matrix) -> tuple[Floats, Floats] | None:
    """Factors [rows, rank] and [rank, columns] of nearly ``new - base``, in binary64.

    Returns
    -------
    None where the difference has no low rank, or nothing would be gained.
    """
    limit = limit_of(matrix)
    start = _start(matrix, limit)
    if start is None:
        return None
    for _ in range(3):
        found = _improve(matrix, start)
        rank, certain = _rank(matrix, found)
        if certain:
            break
        start = found.right[: min(rank + 16, len(found.right))].T.astype(start.dtype)
    if not 0 < rank <= limit:
        return None
    left, right = sharpen(matrix, None, found.right[:rank])
    if matrix.rows * matrix.columns <= _SHORT:
        left, right = sharpen(matrix, left, right)
    return balanced(left, right)


def balanced(left: Floats, right: Floats) -> tuple[Floats, Floats]:
    """Factors of the same product whose columns and rows are as long, and orthogonal."""
    root = whiten(left.T @ left)  # left @ root is orthonormal
    inner = np.linalg.inv(root) @ right
    values, turn = eigen(inner @ inner.T)
    scale = np.sqrt(np.sqrt(np.maximum(values, 1e-300)))
    return left @ (root @ turn * scale), (turn / scale).T @ inner
