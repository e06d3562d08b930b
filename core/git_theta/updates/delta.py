"""The delta update: numbers told by their integer difference, bit for bit, to those of a base.

Subtracting the bits as integers leaves less than XOR does: a small step that crosses a power of two
flips many bits and is a small number. A base of another length serves as well: numbers beyond its
end are stored as they are, so appended rows cost themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from git_theta.dtypes import BITS
from git_theta.errors import PackError
from git_theta.joined import Joined
from git_theta.source import Source
from git_theta.updates.interface import Numbers, Part, Update, UpdateType, check_parts
from git_theta.updates.residual import (
    Predict,
    Residual,
    Restored,
    read_words,
    residual_of,
    word,
    word_name,
)
from git_theta.updates.sampling import guess_of, guess_stored, windows


class Delta(UpdateType):
    """A residual to the base, then the numbers beyond its end."""

    name = "delta"
    max_bases = 1

    def estimate(self, new: Numbers, bases: Sequence[Numbers]) -> int:
        """What the differences take in a few windows."""
        base, dtype, words = bases[0].data, new.dtype, word(new.dtype)
        common = common_bytes(new.data.size, base.size, dtype)
        samples = []
        for window in windows(common, dtype):
            one, other = (np.frombuffer(data.read(*window), words) for data in (new.data, base))
            samples.append(residual_of(one, other, dtype).tobytes())
        rest = new.data.window(common, new.data.size - common)
        return guess_of(samples, common, word_name(dtype)) + guess_stored(rest, dtype)

    def encode(self, new: Numbers, bases: Sequence[Numbers]) -> Update | None:
        """Subtract the base; None where it has nothing in common."""
        base, dtype = bases[0].data, new.dtype
        common = common_bytes(new.data.size, base.size, dtype)
        if not common:
            return None
        residual = Residual(new.data.window(0, common), dtype, _predict(base, dtype))
        parts = [Part(word_name(dtype), residual)]
        if new.data.size > common:
            parts.append(Part(dtype, new.data.window(common, new.data.size - common)))
        return Update(tuple(parts))

    def decode(self, update: Update, bases: Sequence[Source], dtype: str, nbytes: int) -> Source:
        """Add the base."""
        if len(bases) != 1 or update.params:
            raise PackError(f"Expected one base and no params, found {len(bases)} bases")
        base = bases[0]
        common = common_bytes(nbytes, base.size, dtype)
        expected = [(word_name(dtype), common), (dtype, nbytes - common)]
        check_parts(update, [part for part in expected if part[1]])
        if not common:
            raise PackError(f"Expected a base to {nbytes} bytes, found an empty one")
        head = Restored(update.parts[0].data, dtype, common, _predict(base, dtype))
        return Joined([head, update.parts[1].data]) if nbytes > common else head


def common_bytes(one: int, other: int, dtype: str) -> int:
    """Bytes that two buffers of ``one`` and ``other`` bytes have in common, as whole elements."""
    element = math.lcm(BITS[dtype], 8) // 8
    return min(one, other) // element * element


def _predict(base: Source, dtype: str) -> Predict:
    words = word(dtype)
    return lambda first, count: read_words(base, first, count, words)
