"""The low-rank update: a base plus the product of two thin factors, and what that misses.

Who trains an adapter (LoRA) often merges it before saving. The factors are gone then, but the
difference to the base has their rank, up to rounding. They are found again from the numbers alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from git_theta.dtypes import scalar_bytes
from git_theta.errors import PackError, UpdateFileError
from git_theta.source import Source
from git_theta.updates.elementwise import Floats
from git_theta.updates.factors import (
    DOUBLE,
    DTYPES,
    MAX_ENTRIES,
    MAX_RANK,
    SINGLE,
    WIDE,
    Factors,
    parse_factors,
    predictor,
)
from git_theta.updates.guess import guess_bytes
from git_theta.updates.interface import Numbers, Update, UpdateType
from git_theta.updates.matrix import Matrix, Sample, matrix_of, sample_rows
from git_theta.updates.misses import bits_missed, bits_of_integers, parts_missed, restored
from git_theta.updates.quantize import quantize
from git_theta.updates.residual import read_words, word
from git_theta.updates.spectrum import find_factors
from git_theta.updates.telling import FACTORS, told_factors

_SLOWER = 0.9
"""binary64 takes twice the time of binary32: it must be this much smaller."""
_SAMPLED = 2**15
"""Numbers on which digits are tried."""


class LowRank(UpdateType):
    """Factors of integers, then the residual to what they predict."""

    name = "low-rank"
    max_bases = 1
    fields = FACTORS

    def estimate(self, new: Numbers, bases: Sequence[Numbers]) -> int:
        """Look for a low rank in a few rows."""
        with np.errstate(all="ignore"):
            try:
                return guess_bytes(new, bases[0])
            except np.linalg.LinAlgError:  # sizes so far apart that LAPACK gives up
                return new.data.size

    def encode(self, new: Numbers, bases: Sequence[Numbers]) -> Update | None:
        """Find factors; None where the difference has no low rank."""
        matrix = matrix_of(new, bases[0])
        if matrix is None or new.dtype not in DTYPES:
            return None
        with np.errstate(all="ignore"):
            try:
                found = find_factors(matrix)
                factors = _cheapest(matrix, *found) if found else None
            except np.linalg.LinAlgError:  # as above
                return None
        if factors is None:
            return None
        both = factors.reals()
        predict = predictor(lambda: both, matrix.base, new.dtype)
        missed = parts_missed(matrix.new, matrix.dtype, predict)
        return Update((*factors.parts(), *missed), factors.params())

    def tell(self, base: Numbers, fields: Mapping[str, Numbers]) -> Update | None:
        """Add the product of factors that were told."""
        told = told_factors(base, fields, MAX_RANK)
        if told is None:
            return None
        update = from_factors(base, *told)
        if update is None:
            raise UpdateFileError(
                f"Expected factors of at most {MAX_ENTRIES} numbers whose sizes do not differ too "
                f"much, found {told[0].size + told[1].size} that cannot be held"
            )
        return update

    def decode(self, update: Update, bases: Sequence[Source], dtype: str, nbytes: int) -> Source:
        """Add the product, and the residual."""
        if len(bases) != 1 or dtype not in DTYPES or bases[0].size != nbytes:
            raise PackError(f"Expected one base of {nbytes} bytes of a float, found {len(bases)}")
        reals = parse_factors(update, dtype, nbytes // scalar_bytes(dtype))
        return restored(update.parts[2:], dtype, nbytes, predictor(reals, bases[0], dtype))


def from_factors(base: Numbers, left: Floats, right: Floats) -> Update | None:
    """An update that *defines* numbers: the base plus the product of given factors, rounded.

    Only the factors are stored, to about 24 bits an entry; decoding tells the numbers.

    Parameters
    ----------
    base
        A matrix of floats.
    left, right
        [rows, rank] and [rank, columns], finite.

    Returns
    -------
    The update; None where the base is no matrix of floats, the factors do not fit it, or their
    scales are out of range.
    """
    shape = (base.shape[0], math.prod(base.shape[1:])) if len(base.shape) > 1 else (0, 0)
    if base.dtype not in DTYPES or (left.shape[0], right.shape[1]) != shape:
        return None
    rank = left.shape[1]
    if not 0 < rank == right.shape[0] <= MAX_RANK or rank * sum(shape) > MAX_ENTRIES:
        return None
    with np.errstate(all="ignore"):
        factors = quantize(left.astype("<f8"), right.astype("<f8"), DOUBLE, DOUBLE.digits)
    return Update(factors.parts(), factors.params()) if factors else None


def _cheapest(matrix: Matrix, left: Floats, right: Floats) -> Factors | None:
    """Factors rounded to as many digits as make the smallest total; None: they do not pay."""
    sample = sample_rows(matrix, _SAMPLED)
    kinds = (DOUBLE,) if matrix.dtype in WIDE else (SINGLE, DOUBLE)
    best, least = None, 0.9 * 8 * matrix.new.size
    for arithmetic in kinds:
        last = least * _SLOWER if best else least
        digits = arithmetic.digits if len(kinds) == 1 else min(arithmetic.digits, 30)
        for tried in range(digits, 12, -3):
            factors = quantize(left, right, arithmetic, tried)
            total = _stored_bits(factors, sample, matrix) if factors else math.inf
            if total >= last:
                break
            best, least, last = factors, total, total
    return best


def _stored_bits(factors: Factors, sample: Sample, matrix: Matrix) -> float:
    """Bits of a whole update, about, by what some rows of its residual would take."""
    words = word(matrix.dtype)
    count = sample.new.size // words.itemsize
    some = factors.of_rows(sample.rows).reals()
    predicted = predictor(lambda: some, sample.base, matrix.dtype)(0, count)
    each = bits_missed(read_words(sample.new, 0, count, words), predicted, matrix.dtype)
    parts = factors.left, factors.right
    stored = sum(bits_of_integers(part.view(f"<u{part.itemsize}")) * part.size for part in parts)
    return stored + each * matrix.rows * matrix.columns
