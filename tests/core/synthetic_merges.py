"""Matrices before and after an adapter (LoRA) was merged into them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from git_theta.updates.elementwise import narrowed, widened


def to_bytes(values: NDArray[Any], dtype: str) -> bytes:
    """Numbers of binary64 as a dtype's bytes, rounded once to binary32 on the way."""
    width = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2}.get(dtype, 1)
    words, finite = narrowed(values.reshape(-1).astype("<f8"), dtype)
    return np.where(finite, words, 0).astype(f"<u{width}").tobytes()


def merged(
    dtype: str, rows: int, columns: int, rank: int, *, size: float = 1.0, seed: int = 0
) -> tuple[bytes, bytes]:
    """New and base: a matrix of deviation 0.02, with and without a product of random factors."""
    rng = np.random.default_rng(seed)
    base = to_bytes(rng.normal(0, 0.02, rows * columns), dtype)
    product = rng.normal(0, 0.01, (rows, rank)) @ rng.normal(0, 0.04, (rank, columns))
    words = np.frombuffer(base, f"<u{len(base) // (rows * columns)}")
    values = widened(words, dtype).astype("<f8").reshape(rows, columns)
    return to_bytes(values + size * product, dtype), base
