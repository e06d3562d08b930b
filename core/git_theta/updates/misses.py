"""What a good prediction misses: told for all numbers, or for the few that are missed.

Where a prediction is good, most of what it misses is 0. As whole integers these cost a bit each at
least, for no entropy coder that works on bytes takes less. So the others are told as a sparse
update to what is predicted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from git_theta.serializers.planes import Planes
from git_theta.source import BytesSource, Source
from git_theta.updates.changes import Changes, gaps_between
from git_theta.updates.interface import Part, Update, check_parts
from git_theta.updates.residual import (
    Bits,
    Predict,
    Predicted,
    Residual,
    Restored,
    residual_of,
    word_name,
    zigzag,
)
from git_theta.updates.sparse import DIFFERENCES, Sparse

MOST = 4
"""Numbers of which at most one may be missed, on average; else all are told."""

_PLANES = Planes()  # what bytes are guessed with, whatever serializes them in the end


def parts_missed(new: Source, dtype: str, predict: Predict) -> tuple[Part, ...]:
    """What a prediction misses of numbers: nothing, or some of them in three parts, or all."""
    predicted = Predicted(dtype, new.size, predict)
    changes = Changes.found(new, predicted, dtype, most=MOST)
    if changes is None:
        return (Part(word_name(dtype), Residual(new, dtype, predict)),)
    gaps, differences = changes.gaps(), changes.differences()
    if not gaps.size:
        return ()
    counts = BytesSource(changes.counts.tobytes())
    return Part("U32", counts), Part("U16", gaps), Part(word_name(dtype), differences)


def restored(parts: Sequence[Part], dtype: str, nbytes: int, predict: Predict) -> Source:
    """Numbers, from a prediction and what :func:`parts_missed` made of it.

    Raises
    ------
    PackError
        When the parts do not fit ``nbytes``.
    """
    if len(parts) == 1:
        check_parts(Update(tuple(parts)), [(word_name(dtype), nbytes)])
        return Restored(parts[0].data, dtype, nbytes, predict)
    predicted = Predicted(dtype, nbytes, predict)
    if not parts:
        return predicted
    return Sparse().decode(Update(tuple(parts), DIFFERENCES), [predicted], dtype, nbytes)


def bits_missed(new: Bits, predicted: Bits, dtype: str) -> float:
    """About how many bits a number takes that are missed of a sample."""
    missed, kind = zigzag(new - predicted), word_name(dtype)
    where = np.flatnonzero(missed)
    if where.size * MOST <= missed.size:
        gaps = len(_PLANES.encode(gaps_between(where).tobytes(), "U16"))
        told = gaps + len(_PLANES.encode(missed[where].tobytes(), kind))
    else:
        told = len(_PLANES.encode(residual_of(new, predicted, dtype).tobytes(), kind))
    return 8 * told / max(1, missed.size)


def bits_of_integers(numbers: Bits) -> float:
    """About how many bits an integer of a part takes."""
    kind = f"U{8 * numbers.itemsize}"
    return 8 * len(_PLANES.encode(numbers.tobytes(), kind)) / max(1, numbers.size)
