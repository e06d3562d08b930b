"""The patch update: a small run of bytes told by zstd with an earlier run as its dictionary.

For skeletons (headers, pickles, directories), which change a little with every version. Above
:data:`MAX_BYTES` dictionaries stop working; such skeletons are cut into chunks instead.
"""

from __future__ import annotations

from git_theta.errors import PackError
from git_theta.source import BytesSource, Source
from git_theta.updates.interface import Part, Update, UpdateType
from git_theta.zstd_frame import compress_against, decompress

MAX_BYTES = 2**20
"""Longest run, and longest base, that is patched."""


class Patch(UpdateType):
    """Bytes as a zstd frame whose dictionary is the base."""

    name = "patch"
    needs_base = True

    def encode(self, new: Source, base: Source | None, dtype: str) -> Update | None:
        """Compress ``new`` against ``base``; None for numbers and for what is too long."""
        if base is None or dtype != "U8" or not 0 < max(new.size, base.size) <= MAX_BYTES:
            return None
        patch = compress_against(_bytes(new), _bytes(base))
        return Update((Part("U8", BytesSource(patch), serializer="raw"),))

    def decode(self, update: Update, base: Source | None, dtype: str, nbytes: int) -> Source:
        """Decompress the patch with ``base`` as dictionary."""
        if base is None or len(update.parts) != 1 or max(nbytes, base.size) > MAX_BYTES:
            raise PackError(f"Expected a patch to a base of at most {MAX_BYTES} bytes")
        patch = update.parts[0].data
        if patch.size > 2 * MAX_BYTES:
            raise PackError(f"Expected a patch to {nbytes} bytes, found {patch.size} bytes of it")
        return BytesSource(decompress(_bytes(patch), nbytes, dictionary=_bytes(base)))


def _bytes(source: Source) -> bytes:
    return bytes(source.read(0, source.size))
