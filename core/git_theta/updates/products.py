"""Matrix products, and what is found from a Gram matrix; BLAS has one thread (git_theta.blas)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.floating[Any]]


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
