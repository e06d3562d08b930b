"""Keeps whichever side was not left as it was."""

from __future__ import annotations

from git_theta.formats.interface import TensorData
from git_theta.merges.interface import MergeStrategy


class LeftAlone(MergeStrategy):
    """Theirs where ours is the base's, ours where theirs is, otherwise no answer."""

    name = "toy-left-alone"

    def merge(
        self, base: TensorData | None, ours: TensorData, theirs: TensorData
    ) -> TensorData | None:
        """The side that changed."""
        if base is None:
            return None
        if _same(base, ours):
            return theirs
        return ours if _same(base, theirs) else None


def _same(left: TensorData, right: TensorData) -> bool:
    if (left.dtype, left.shape) != (right.dtype, right.shape):
        return False
    return all(a == b for a, b in zip(left.data.blocks(), right.data.blocks(), strict=True))
