"""Buffers told by their difference, bit by bit, from a base of the same length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from git_theta.errors import PackError
from git_theta.source import Source
from git_theta.updates.interface import Numbers, Part, Update, UpdateType, check_parts


class Xor(UpdateType):
    """XOR of the bits; what did not change is zero."""

    name = "toy-xor"
    max_bases = 1

    def encode(self, new: Numbers, bases: Sequence[Numbers]) -> Update | None:
        """Differ from a base of the same length; None for any other."""
        (base,) = bases
        if base.data.size != new.data.size:
            return None
        return Update((Part(new.dtype, Xored(new.data, base.data)),))

    def decode(self, update: Update, bases: Sequence[Source], dtype: str, nbytes: int) -> Source:
        """Apply the difference to the base."""
        check_parts(update, [(dtype, nbytes)])
        if [base.size for base in bases] != [nbytes] or update.params:
            raise PackError(f"Expected a base of {nbytes} bytes and no params")
        return Xored(update.parts[0].data, bases[0])


class Xored(Source):
    """The XOR of two sources of one length, computed where it is read."""

    def __init__(self, left: Source, right: Source) -> None:
        self._left, self._right, self.size = left, right, left.size

    def _read(self, offset: int, nbytes: int) -> bytes:
        left = np.frombuffer(self._left.read(offset, nbytes), np.uint8)
        return (left ^ np.frombuffer(self._right.read(offset, nbytes), np.uint8)).tobytes()
