"""Makes factors more exact than the differences that they are found from.

A float is rounded to a step that is proportional to it, so among numbers of all sizes the small
ones tell a difference hundreds of times more exactly than most. Fitted to those, factors predict
nearly always how the others were rounded.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from git_theta.compiled import kernels
from git_theta.updates.elementwise import Floats, widened
from git_theta.updates.factors import WIDE
from git_theta.updates.matrix import BLOCK, Matrix, corner, subtract
from git_theta.updates.products import inverse
from git_theta.updates.residual import Bits


def sharpen(
    matrix: Matrix, left: Floats | None, right: Floats
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Move factors towards what the finest numbers say; one pass.

    The difference is known up to the rounding of ``new``, and that is the finer the smaller the
    number. So numbers weigh by the inverse square of their step. One step of alternating least
    squares, in which the weighted matrices are approximated by their mean, suffices.

    Parameters
    ----------
    matrix
        What is factorized.
    left
        [rows, rank]; None: the one that fits best where all numbers weigh the same.
    right
        [rank, columns].
    """
    real = "<f8" if matrix.dtype in WIDE else "<f4"
    rank = len(right)
    other = np.ascontiguousarray(right, real)
    solve = (right.T.astype("<f8") @ inverse(right @ right.T)).astype(real)
    moved = np.empty((matrix.rows, rank), real)
    gram, weight = np.zeros((rank, rank)), np.zeros(matrix.columns)
    pull = np.zeros(right.shape, real)
    step = max(1, 2 * BLOCK // matrix.columns)  # products of few rows take long
    ones = np.ones(max(step, matrix.columns), "<f4")
    floor = _floor(matrix, rank)
    for row in range(0, matrix.rows, step):
        bits, old = matrix.read(row, min(step, matrix.rows - row))
        difference = subtract(bits, old, matrix.dtype).reshape(-1, matrix.columns)
        weights = _weights(bits, matrix.dtype, floor).reshape(difference.shape)
        mean = (weights @ ones[: matrix.columns])[:, None] / np.float32(matrix.columns)
        weight += ones[: len(weights)] @ weights
        here = difference @ solve if left is None else left[row : row + step].astype(real)
        missed = _missed(difference, here, other, weights)
        here += (missed @ solve) / mean
        missed = _missed(difference, here, other, weights)
        moved[row : row + step] = here
        pull += here.T @ missed
        gram += here.T @ here
    mean_weight = weight / matrix.rows
    change = inverse(gram) @ (pull / mean_weight).astype("<f8")
    return moved.astype("<f8"), right + change


def _floor(matrix: Matrix, rank: int) -> float:
    """The magnitude below which numbers weigh the same: enough must count for each unknown."""
    bits, _ = corner(matrix)
    values = widened(bits.reshape(-1), matrix.dtype)
    values = values[np.isfinite(values)].astype("<f8")
    typical = float(np.sqrt(np.mean(values * values))) if values.size else 0.0
    share = min(1.0, max(0.03, 8 * rank / min(matrix.rows, matrix.columns)))
    return min(2.0**60, max(2.0**-60, share * typical))


def _missed(difference: Floats, left: Floats, right: Floats, weights: Floats) -> Floats:
    """What factors miss of a difference, weighed."""
    if kernels and kernels.pays(right):
        return kernels.weighed(difference, left, right, weights)
    missed: Floats = left @ right
    np.subtract(difference, missed, out=missed)
    missed *= weights
    return missed


def _weights(bits: Bits, dtype: str, floor: float) -> Floats:
    """The inverse square of the power of two below each number, 1 at the floor; binary32."""
    least = np.float32(floor).view("<u4") & np.uint32(0x7F80_0000)
    if kernels and dtype in ("BF16", "F32"):
        return kernels.weights(bits, int(least))
    with np.errstate(all="ignore"):
        exponents = widened(bits, dtype).astype("<f4", copy=False).view("<u4") & np.uint32(
            0x7F80_0000
        )
    np.maximum(exponents, least, out=exponents)
    np.minimum(exponents, least + np.uint32(30 << 23), out=exponents)  # what is NaN, too
    exponents <<= 1
    np.subtract(np.uint32((127 << 23) + 2 * int(least)), exponents, out=exponents)
    weights: Floats = exponents.view("<f4")
    return weights
