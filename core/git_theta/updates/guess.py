"""Guesses from a few rows how many bytes a low-rank update would take."""

from __future__ import annotations

import numpy as np

from git_theta.updates.factors import DTYPES, WIDE, add
from git_theta.updates.interface import Numbers
from git_theta.updates.matrix import corner, matrix_of, subtract
from git_theta.updates.misses import bits_missed
from git_theta.updates.spectrum import limit_of, pays, space_of


def guess_bytes(new: Numbers, base: Numbers) -> int:
    """About how many bytes factors and residual take; those of ``new`` where it seems hopeless."""
    matrix = matrix_of(new, base)
    hopeless = max(1, new.data.size)
    if matrix is None or new.dtype not in DTYPES:
        return hopeless
    limit = limit_of(matrix)
    bits, old = corner(matrix)
    dtype = new.dtype
    difference = subtract(bits, old, dtype)
    space = space_of(difference)
    if not 0 < space.rank <= limit or not pays(matrix, space, limit):
        return hopeless
    vectors = space.vectors[:, : space.rank].astype(difference.dtype)
    fitted = vectors[::3] @ (vectors.T @ difference)
    new_bits, old_bits = (array[::3].reshape(-1) for array in (bits, old))
    predicted = np.empty_like(old_bits)
    add(fitted.reshape(-1), old_bits, dtype, predicted)
    residual, delta = (bits_missed(new_bits, other, dtype) for other in (predicted, old_bits))
    entry = 24 if dtype in WIDE else 12
    residual = max(residual, 26.0) if dtype == "F64" else residual  # factors have fewer digits
    stored = residual * matrix.rows * matrix.columns
    stored += entry * space.rank * (matrix.rows + matrix.columns)
    dense = matrix.rows * matrix.columns * delta
    return int(stored / 8) + 1 if stored < dense else hopeless
