"""Runs of bytes that are no numbers: kept whole when small, cut by content when large.

Content-defined chunks (FastCDC) keep their borders when something is inserted, so an unknown file
shares what it shares with its last version. The list of chunks is a run of bytes itself.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import blake3

from git_theta.digests import digest
from git_theta.errors import LimitExceeded, MetadataError
from git_theta.metadata import MAX_CUTS, Skeleton
from git_theta.source import BytesSource, Source
from git_theta.storage.payload import BufferId

WHOLE = 2**20
"""Longest run of bytes that is not cut."""
AVERAGE, SMALLEST, LARGEST = 2**16, 2**14, 2**18
"""Bytes of a chunk."""

MAX_LIST = 64 * 2**20
"""Longest list of chunks: some 120 GB of bytes that no format knows."""

_WINDOW = 8 * 2**20
_ENTRY = struct.Struct("<32sI")


class Chunk(NamedTuple):
    """A U8 buffer that is to be stored."""

    digest: bytes
    data: Source

    @property
    def identity(self) -> BufferId:
        """What the buffer is."""
        return BufferId("U8", self.digest)


def cut(data: Source) -> tuple[Skeleton, list[Chunk]]:
    """Cut bytes as far as needed; what metadata says of them, and the buffers to store."""
    chunks: list[Chunk] = []
    cuts = 0
    while data.size > WHOLE:
        level = list(_cut_once(data))
        chunks += level
        data = BytesSource(b"".join(_ENTRY.pack(c.digest, c.data.size) for c in level))
        cuts += 1
        if cuts > MAX_CUTS or data.size > MAX_LIST:
            raise LimitExceeded(
                f"Expected at most {MAX_LIST // _ENTRY.size} chunks of bytes that no format knows, "
                f"found {len(level)}"
            )
    data = BytesSource(bytes(data.read(0, data.size)))  # held, so that it cannot change any more
    value = digest(data)
    chunks.append(Chunk(value, data))
    return Skeleton(value, data.size, cuts), chunks


def _cut_once(data: Source) -> Iterator[Chunk]:
    from pyfastcdc import FastCDC

    cutter = FastCDC(avg_size=AVERAGE, min_size=SMALLEST, max_size=LARGEST)
    start = 0
    while start < data.size:
        window = memoryview(data.read(start, min(_WINDOW, data.size - start)))
        last = start + len(window) == data.size
        at = 0
        for chunk in cutter.cut_buf(window):
            end = chunk.offset + chunk.length
            if end == len(window) and not last and chunk.offset:
                break  # the border is the window's, not the content's: look again from here
            value = blake3.blake3(window[chunk.offset : end]).digest()
            yield Chunk(value, data.window(start + chunk.offset, chunk.length))
            at = end
        start += at


def count_entries(entries: Source, path: str) -> int:
    """How many chunks a list names.

    Raises
    ------
    MetadataError
        When its length is not that of a list of chunks.
    """
    if entries.size % _ENTRY.size or entries.size > MAX_LIST:
        raise MetadataError(f"{path}: a list of chunks has {entries.size} bytes")
    return entries.size // _ENTRY.size


def read_entries(
    entries: Source, path: str, first: int = 0, count: int | None = None
) -> Iterator[tuple[BufferId, int]]:
    """The chunks that a list names, each with its length in bytes.

    Parameters
    ----------
    entries, path
        The list, and the file that it belongs to.
    first, count
        From which chunk on, and at most how many; all without them.

    Raises
    ------
    MetadataError
        When it is not a list of chunks.
    """
    rest = count_entries(entries, path) - first
    count = rest if count is None else min(count, rest)
    part = entries.window(first * _ENTRY.size, count * _ENTRY.size)
    for block in part.blocks(_ENTRY.size * 2**14):
        for value, nbytes in _ENTRY.iter_unpack(block):
            if not 0 < nbytes <= LARGEST:
                raise MetadataError(f"{path}: a list names a chunk of {nbytes} bytes")
            yield BufferId("U8", value), nbytes
