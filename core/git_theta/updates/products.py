"""Matrix products in pieces that are too small for a BLAS to spread over threads.

Whoever encodes or decodes has threads of its own; those of OpenBLAS wait for each other by spinning
and make thin products, which are all that is needed here, many times slower on a busy machine.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_PIECE = 2**18
"""Multiplications that OpenBLAS does on one thread (its interface/gemm.c)."""

Matrix = NDArray[np.floating[Any]]


def multiply(left: Matrix, right: Matrix, out: Matrix | None = None) -> Matrix:
    """``left @ right``, of one dtype, into ``out`` where it is given."""
    rows, inner, columns = *left.shape, right.shape[1]
    if out is None:
        out = np.empty((rows, columns), left.dtype)
    high, deep = min(rows, 64), min(inner, 64)
    wide = min(columns, max(1, _PIECE // (high * deep)))
    deep = min(inner, max(1, _PIECE // (high * wide)))
    for row in range(0, rows, high):
        for column in range(0, columns, wide):
            piece = out[row : row + high, column : column + wide]
            for at in range(0, inner, deep):
                one = left[row : row + high, at : at + deep]
                other = right[at : at + deep, column : column + wide]
                if at:
                    piece += one @ other
                else:
                    np.matmul(one, other, out=piece)
    return out


def eigen(matrix: Matrix) -> tuple[Matrix, Matrix]:
    """Eigenvalues of a symmetric matrix that has no negative ones, greatest first, and vectors.

    Small ones by the singular values, which LAPACK finds without threads.
    """
    if len(matrix) <= 40:
        vectors, values, _ = np.linalg.svd(matrix)
        return values, vectors
    values, vectors = np.linalg.eigh(matrix)
    return np.maximum(values[::-1], 0), vectors[:, ::-1]


def inverse(matrix: Matrix) -> Matrix:
    """The inverse of a symmetric matrix that has no negative eigenvalues; nearly, if singular."""
    found: Matrix = np.linalg.inv(matrix + _ridge(matrix))
    return found


def whiten(gram: Matrix) -> Matrix:
    """What makes columns orthonormal whose products are ``gram``; nearly, if they are not free."""
    scale = 1 / np.sqrt(np.maximum(np.diagonal(gram), 1e-300))
    scaled = gram * scale[:, None] * scale
    try:
        root = np.linalg.inv(np.linalg.cholesky(scaled + _ridge(scaled))).T
    except np.linalg.LinAlgError:  # rounding made an eigenvalue negative
        values, vectors = eigen(scaled)
        root = vectors / np.sqrt(np.maximum(values, 1e-12 * values[0] + 1e-300))
    found: Matrix = root * scale[:, None]
    return found


def _ridge(matrix: Matrix) -> Matrix:
    return np.eye(len(matrix)) * (1e-13 * float(np.trace(matrix)) + 1e-300)
