"""The table of an index file: keys in order, and where each value lies.

It is LevelDB's: blocks of entries with shared key prefixes, a block that names those, a footer.
Every block has a masked CRC-32C. Source: LevelDB, doc/table_format.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from git_theta.errors import CheckpointError, LimitExceeded
from git_theta.source import Source
from theta_tensorflow.bundle.checksums import masked
from theta_tensorflow.bundle.protobuf import read_varint

MAX_INDEX = 64 * 2**20
"""Bytes of an index that is read; one of 100,000 tensors has about 10 MB."""
MAX_ENTRIES = 2**18
"""Entries of a table: more groups than that, metadata cannot tell."""
MAX_KEY = 4096
"""Bytes of a key."""

MAGIC = bytes.fromhex("57fb808b247547db")
_FOOTER = 48
_TRAILER = 5
"""Bytes behind a block: how it is compressed, and its CRC."""
MAX_KEYS = 64 * 2**20
"""Bytes of all keys, which share most of them in the file."""
_EXPANDED = 16
"""How much longer the keys may be than the file that they are written in."""


class Block(NamedTuple):
    """Where a block lies in the file, without its trailer."""

    start: int
    end: int


class Entry(NamedTuple):
    """A key, and where its value lies in the file."""

    key: bytes
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class SSTable:
    """An index file in memory."""

    data: bytes
    blocks: tuple[Block, ...]
    """Those that hold entries."""
    entries: tuple[Entry, ...]


def read_table(file: Source) -> SSTable:
    """Read and check a table.

    Raises
    ------
    CheckpointError
        When it is malformed, compressed, or a CRC is wrong.
    """
    if not _FOOTER <= file.size <= MAX_INDEX:
        raise CheckpointError(
            f"Expected an index of {_FOOTER} bytes to {MAX_INDEX // 2**20} MiB, found {file.size}"
        )
    data = bytes(file.read(0, file.size))
    if not data.endswith(MAGIC):
        raise CheckpointError("Expected an index that ends as LevelDB's tables do")
    at = len(data) - _FOOTER
    _, at = _read_handle(data, at)
    directory, _ = _read_handle(data, at)
    _check_block(data, directory)
    blocks: list[Block] = []
    for entry in _read_block(data, directory):
        block, _ = _read_handle(data, entry.start)
        if blocks and block.start < blocks[-1].end:
            raise CheckpointError("Expected the blocks of the index in order")
        _check_block(data, block)
        blocks.append(block)
    entries: list[Entry] = []
    left = min(_EXPANDED * len(data), MAX_KEYS)
    for block in blocks:
        for entry in _read_block(data, block):
            left -= len(entry.key)
            entries.append(entry)
            if left < 0 or len(entries) > MAX_ENTRIES:
                raise LimitExceeded(f"An index of {len(entries)} entries or more")
    return SSTable(data, tuple(blocks), tuple(entries))


def mended(table: SSTable, patches: dict[int, bytes]) -> bytes:
    """The file with other bytes at some offsets of its values, and right CRCs."""
    data = bytearray(table.data)
    for start, patch in patches.items():
        data[start : start + len(patch)] = patch
    for start, end in table.blocks:
        crc = masked(memoryview(data)[start : end + 1])
        data[end + 1 : end + _TRAILER] = crc.to_bytes(4, "little")
    return bytes(data)


def _read_handle(data: bytes, at: int) -> tuple[Block, int]:
    start, at = read_varint(data, at)
    nbytes, at = read_varint(data, at)
    if start + nbytes + _TRAILER > len(data) - _FOOTER:
        raise CheckpointError(f"A block of the index ends at byte {start + nbytes}, outside of it")
    return Block(start, start + nbytes), at


def _check_block(data: bytes, block: Block) -> None:
    if data[block.end]:
        raise CheckpointError("The index is compressed, which TensorFlow never does")
    stored = int.from_bytes(data[block.end + 1 : block.end + _TRAILER], "little")
    if masked(memoryview(data)[block.start : block.end + 1]) != stored:
        raise CheckpointError(f"The CRC of the index is wrong for its block at byte {block.start}")


def _read_block(data: bytes, block: Block) -> Iterator[Entry]:
    if block.end - block.start < 4:
        raise CheckpointError("Expected a block of at least 4 bytes in the index")
    restarts = int.from_bytes(data[block.end - 4 : block.end], "little")
    at, end = block.start, block.end - 4 - 4 * restarts
    if end < at:
        raise CheckpointError(f"A block of the index has {restarts} restarts, more than fit")
    key = b""
    while at < end:
        shared, at = read_varint(data, at)
        added, at = read_varint(data, at)
        nbytes, at = read_varint(data, at)
        start = at + added
        if shared > len(key) or start + nbytes > end or shared + added > MAX_KEY:
            raise CheckpointError(f"An entry of the index at byte {at} leaves its block")
        key = key[:shared] + data[at:start]
        at = start + nbytes
        yield Entry(key, start, at)
