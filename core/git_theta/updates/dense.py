"""The dense update: a buffer by itself, the floor that every other update must beat."""

from __future__ import annotations

from git_theta.source import Source
from git_theta.updates.interface import Part, Update, UpdateType, check_parts


class Dense(UpdateType):
    """All values, relative to nothing."""

    name = "dense"
    needs_base = False

    def encode(self, new: Source, base: Source | None, dtype: str) -> Update:
        """Return the values as the only part."""
        return Update((Part(dtype, new),))

    def decode(self, update: Update, base: Source | None, dtype: str, nbytes: int) -> Source:
        """Return the only part."""
        check_parts(update, [(dtype, nbytes)])
        return update.parts[0].data
