"""The cast update: numbers told as those of another dtype, rounded to their own.

A model is often kept twice: in F32 to train on, in BF16 to run. Each number of the one follows from
the other's, and whatever does not (what was trained since, NaNs) is a residual.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from git_theta.dtypes import BITS, SCALAR
from git_theta.errors import PackError
from git_theta.source import Source
from git_theta.updates.elementwise import convertible, narrowed, widened
from git_theta.updates.interface import Numbers, Part, Update, UpdateType, check_parts
from git_theta.updates.residual import (
    Bits,
    Predict,
    Residual,
    Restored,
    read_words,
    residual_of,
    word,
    word_name,
)
from git_theta.updates.sampling import guess_of, windows


class Cast(UpdateType):
    """A residual to the base's numbers in the buffer's dtype."""

    name = "cast"
    max_bases = 1
    other_dtypes = True

    def estimate(self, new: Numbers, bases: Sequence[Numbers]) -> int:
        """What is missed in a few windows."""
        (base,) = bases
        if not _fits(base.data, base.dtype, new.dtype, new.data.size):
            return max(1, new.data.size)
        words, predict = word(new.dtype), _predictor(base.data, base.dtype, new.dtype)
        samples = []
        for offset, nbytes in windows(new.data.size, new.dtype):
            first, count = offset // words.itemsize, nbytes // words.itemsize
            predicted = predict(first, count)
            numbers = read_words(new.data, first, count, words)
            samples.append(residual_of(numbers, predicted, new.dtype).tobytes())
        return guess_of(samples, new.data.size, word_name(new.dtype))

    def encode(self, new: Numbers, bases: Sequence[Numbers]) -> Update | None:
        """Subtract what the base is in the buffer's dtype; None where it has other numbers."""
        (base,) = bases
        if not new.data.size or not _fits(base.data, base.dtype, new.dtype, new.data.size):
            return None
        residual = Residual(new.data, new.dtype, _predictor(base.data, base.dtype, new.dtype))
        return Update((Part(word_name(new.dtype), residual),), base.dtype.encode())

    def decode(self, update: Update, bases: Sequence[Source], dtype: str, nbytes: int) -> Source:
        """Round the base, add what that misses."""
        wide = update.params.decode("ascii", "replace")
        if len(bases) != 1 or wide not in BITS or not _fits(bases[0], wide, dtype, nbytes):
            raise PackError(
                f"Expected one base and the dtype of as many numbers as {nbytes} bytes of {dtype} "
                f"have, found {len(bases)} bases and {update.params[:16]!r}"
            )
        check_parts(update, [(word_name(dtype), nbytes)])
        return Restored(update.parts[0].data, dtype, nbytes, _predictor(bases[0], wide, dtype))


def _fits(base: Source, wide: str, dtype: str, nbytes: int) -> bool:
    """Whether a base has as many numbers as the buffer, of a dtype that can be rounded to its."""
    scalars, rest = divmod(nbytes, word(dtype).itemsize)
    return convertible(wide, dtype) and not rest and base.size == scalars * word(wide).itemsize


def _predictor(base: Source, wide: str, dtype: str) -> Predict:
    words, old, new = word(wide), SCALAR.get(wide, wide), SCALAR.get(dtype, dtype)

    def predict(first: int, count: int) -> Bits:
        bits, finite = narrowed(widened(read_words(base, first, count, words), old), new)
        return bits if finite.all() else np.where(finite, bits, bits.dtype.type(0))

    return predict
