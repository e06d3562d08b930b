"""The dense update: a buffer by itself, the floor that every other update must beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from git_theta.errors import UpdateFileError
from git_theta.source import Source
from git_theta.updates.interface import Numbers, Part, Update, UpdateType, check_parts


class Dense(UpdateType):
    """All values, relative to nothing."""

    name = "dense"
    max_bases = 0
    fields = ("parameter",)

    def encode(self, new: Numbers, bases: Sequence[Numbers]) -> Update:
        """Return the values as the only part."""
        return Update((Part(new.dtype, new.data),))

    def tell(self, base: Numbers, fields: Mapping[str, Numbers]) -> Update:
        """The values that were told, in place of those of the base."""
        told = fields["parameter"]
        if (told.dtype, told.shape) != (base.dtype, base.shape):
            raise UpdateFileError(
                f"Expected {base.dtype} of shape {list(base.shape)}, "
                f"found {told.dtype} of shape {list(told.shape)}",
                remedy="Convert the values to the group's dtype and shape",
            )
        return Update((Part(told.dtype, told.data),))

    def decode(self, update: Update, bases: Sequence[Source], dtype: str, nbytes: int) -> Source:
        """Return the only part."""
        check_parts(update, [(dtype, nbytes)])
        return update.parts[0].data
