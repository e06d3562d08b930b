"""Rounds factors to integers: steps that are powers of two, and as many digits as are asked for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from git_theta.errors import PackError
from git_theta.updates.elementwise import Floats
from git_theta.updates.factors import Arithmetic, Factors

_OUTLIER = 4.0
"""Norms of rows that are this much above the typical one have coarser steps."""
_MARGIN = 0.01
"""Digits that rounding to integers may add to a norm."""


def quantize(left: Floats, right: Floats, arithmetic: Arithmetic, digits: float) -> Factors | None:
    """Round factors to integers such that products of a row and a column stay below 2^digits.

    Steps are equal in all rows, and in all columns, as what is lost then is equal everywhere; rows
    whose norm is far above the others' have coarser steps. The longer factor has coarser steps as
    well, since its entries cost more.

    Parameters
    ----------
    left, right
        [rows, rank] and [rank, columns], binary64, finite.
    digits
        At most those of the arithmetic.

    Returns
    -------
    The factors, None where there is nothing to scale or the scales are out of range.
    """
    norms = np.linalg.norm(left, axis=1), np.linalg.norm(right, axis=0)
    typical = [float(np.sqrt(np.mean(norm * norm))) for norm in norms]
    if not all(np.isfinite(value) and value > 0 for value in typical):
        return None
    caps = [
        min(float(norm.max()), _OUTLIER * usual) for norm, usual in zip(norms, typical, strict=True)
    ]
    room = digits - _MARGIN - float(np.log2(caps[0]) + np.log2(caps[1]))
    exponent = math.floor(room)  # the product is in steps of 2^-exponent
    share = min(2.5, max(-2.5, math.log2(right.shape[1] / left.shape[0]) / 4))
    scale = 2.0 ** ((digits - _MARGIN - room + exponent) / 2 + share) / caps[0]
    one, row_scale = _integers(left.T, norms[0] / caps[0], scale, arithmetic)
    other, column_scale = _integers(right, norms[1] / caps[1], 2.0**exponent / scale, arithmetic)
    half = exponent // 2
    try:
        return Factors(
            np.ascontiguousarray(one.T),
            other,
            row_scale - half,
            column_scale - (exponent - half),
            arithmetic,
        ).check()
    except PackError:
        return None


def _integers(
    factor: Floats, norms: Floats, scale: float, arithmetic: Arithmetic
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Columns of a factor as integers, and the exponents of those whose norm is above 1."""
    coarser = np.ceil(np.log2(np.maximum(norms, 1)))
    scaled = np.rint(factor * (scale * np.exp2(-coarser)))
    return scaled.astype(arithmetic.integer), coarser.astype("<i2")
