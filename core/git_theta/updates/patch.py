"""The patch update: a small run of bytes told by zstd with an earlier run as its dictionary.

For skeletons (headers, pickles, directories), which change a little with every version. Above
:data:`MAX_BYTES` dictionaries stop working; such skeletons are cut into chunks instead.
"""

from __future__ import annotations

from collections.abc import Sequence

from git_theta.errors import PackError
from git_theta.source import BytesSource, Source
from git_theta.updates.interface import Numbers, Part, Update, UpdateType
from git_theta.zstd_frame import compress_against, decompress

MAX_BYTES = 2**20
"""Longest run, and longest base, that is patched."""


class Patch(UpdateType):
    """Bytes as a zstd frame whose dictionary is the base."""

    name = "patch"
    max_bases = 1

    def estimate(self, new: Numbers, bases: Sequence[Numbers]) -> int:
        """Nothing is guessed of short bytes, which are quickly tried; no other run pays."""
        return 0 if _fits(new, bases[0]) else new.data.size

    def encode(self, new: Numbers, bases: Sequence[Numbers]) -> Update | None:
        """Compress ``new`` against its base; None for numbers and for what is too long."""
        (base,) = bases
        if not _fits(new, base):
            return None
        patch = compress_against(_bytes(new.data), _bytes(base.data))
        return Update((Part("U8", BytesSource(patch), serializer="raw"),))

    def decode(self, update: Update, bases: Sequence[Source], dtype: str, nbytes: int) -> Source:
        """Decompress the patch with the base as dictionary."""
        if (len(bases), len(update.parts)) != (1, 1) or max(nbytes, bases[0].size) > MAX_BYTES:
            raise PackError(f"Expected a patch to a base of at most {MAX_BYTES} bytes")
        patch = update.parts[0].data
        if patch.size > 2 * MAX_BYTES:
            raise PackError(f"Expected a patch to {nbytes} bytes, found {patch.size} bytes of it")
        return BytesSource(decompress(_bytes(patch), nbytes, dictionary=_bytes(bases[0])))


def _fits(new: Numbers, base: Numbers) -> bool:
    return new.dtype == "U8" and 0 < max(new.data.size, base.data.size) <= MAX_BYTES


def _bytes(source: Source) -> bytes:
    return bytes(source.read(0, source.size))
