"""The dense update: a buffer by itself, the floor that every other update must beat."""

from __future__ import annotations

from collections.abc import Sequence

from git_theta.source import Source
from git_theta.updates.interface import Numbers, Part, Update, UpdateType, check_parts


class Dense(UpdateType):
    """All values, relative to nothing."""

    name = "dense"
    max_bases = 0

    def encode(self, new: Numbers, bases: Sequence[Numbers]) -> Update:
        """Return the values as the only part."""
        return Update((Part(new.dtype, new.data),))

    def decode(self, update: Update, bases: Sequence[Source], dtype: str, nbytes: int) -> Source:
        """Return the only part."""
        check_parts(update, [(dtype, nbytes)])
        return update.parts[0].data
