"""Packs: immutable files of payloads, as docs/spec/pack-v1.md specifies them.

Reading and writing the file; not what its payloads mean (:mod:`git_theta.storage.decode`) and not
where packs are kept.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import blake3
import msgpack

from git_theta.dtypes import BITS
from git_theta.errors import PackError
from git_theta.source import FileSource, Source
from git_theta.zstd_frame import compress_text, decompress

MAGIC = b"GTHPACK1"
END_MAGIC = b"GTHPEND1"
PACK_BYTES = 64 * 2**20
"""A pack is ended once it holds that many bytes."""
MAX_DIRECTORY = 256 * 2**20
MAX_DEPTH = 8
MAX_BLOCK = 8 * 2**20
MAX_PARAMS = 64 * 2**10

_TRAILER = struct.Struct("<QQ32s8s")


class BufferId(NamedTuple):
    """What a buffer is: its dtype and the BLAKE3 of its little-endian bytes."""

    dtype: str
    digest: bytes

    def __str__(self) -> str:
        return f"{self.dtype} {self.digest.hex()}"


class StoredPart(NamedTuple):
    """A run of serialized numbers in a pack."""

    serializer: tuple[str, str]
    """Name, and the distribution that offers it."""
    dtype: str
    nbytes: int
    """Bytes before serializing."""
    block: int
    """Bytes of a block before serializing."""
    lengths: Sequence[int]
    """Stored bytes of each block."""


class Payload(NamedTuple):
    """One encoded update in a pack."""

    start: int
    """Offset of its first byte in the pack."""
    nbytes: int
    update: tuple[str, str]
    """Name of the update type, and the distribution that offers it."""
    params: bytes
    depth: int
    cost: int
    bases: tuple[BufferId, ...]
    parts: tuple[StoredPart, ...]
    buffers: tuple[tuple[BufferId, int], ...]
    """The buffers it decodes to, each with its length in bytes."""


class Pack:
    """A pack that is open for reading; close it after the last read."""

    def __init__(self, path: Path) -> None:
        self.id = path.name
        self.path = path
        self._fd = -1
        self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        self.file: Source = FileSource(self._fd)

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Pack:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._records)

    def payload(self, number: int) -> Payload:
        """The payload of a number, checked.

        Raises
        ------
        PackError
            When the directory does not say what the specification demands.
        """
        if not 0 <= number < len(self._records):
            raise self.error(f"has {len(self._records)} payloads, expected a number {number}")
        try:
            payload = self._parse(self._records[number], self._starts[number])
            _check(payload)
        except (TypeError, ValueError, IndexError, AttributeError) as fault:
            raise self.error(f"has a malformed payload {number}: {fault}") from fault
        return payload

    def buffers(self) -> Iterator[tuple[int, int, int, BufferId]]:
        """All buffers in the pack: number of the payload, slot in it, depth, identity."""
        try:
            for number, record in enumerate(self._records):
                for slot, (dtype, digest, _) in enumerate(record[7]):
                    yield number, slot, record[3], BufferId(dtype, digest)
        except (TypeError, ValueError, IndexError) as fault:
            raise self.error(f"has a malformed directory: {fault}") from fault

    def error(self, what: str) -> PackError:
        """An error about this pack."""
        return PackError(
            f"Pack {self.id} {what}",
            remedy="Run git theta fsck to see what is damaged, and restore the pack from a copy",
        )

    def _parse(self, record: Any, start: int) -> Payload:
        nbytes, update, params, depth, cost, bases, parts, buffers = record
        return Payload(
            start,
            nbytes,
            self._names[update],
            params,
            depth,
            cost,
            tuple(BufferId(*base) for base in bases),
            tuple(StoredPart(self._names[name], *rest) for name, *rest in parts),
            tuple((BufferId(dtype, digest), n) for dtype, digest, n in buffers),
        )

    @cached_property
    def _directory(self) -> tuple[list[tuple[str, str]], list[Any], list[int]]:
        size = self.file.size
        if size < len(MAGIC) + _TRAILER.size:
            raise self.error(f"has {size} bytes, too few for a pack")
        trailer = self.file.read(size - _TRAILER.size, _TRAILER.size)
        start, nbytes, digest, magic = _TRAILER.unpack(trailer)
        if bytes(self.file.read(0, 8)) != MAGIC or magic != END_MAGIC:
            raise self.error("does not begin and end as a pack of version 1 does")
        end = size - _TRAILER.size
        if not len(MAGIC) <= start <= end or nbytes > MAX_DIRECTORY:
            raise self.error(f"puts a directory of {nbytes} bytes at {start}, has {size}")
        data = self.file.read(start, end - start)
        if blake3.blake3(data).digest() != digest:
            raise self.error("has a directory that does not match its digest")
        try:
            names, records = msgpack.unpackb(decompress(data, nbytes), strict_map_key=True)
            names = [(str(name), str(distribution)) for name, distribution in names]
            starts = list(accumulate((record[0] for record in records), initial=len(MAGIC)))
        except (ValueError, TypeError, IndexError, msgpack.UnpackException, PackError) as fault:
            raise self.error(f"has a malformed directory: {fault}") from fault
        if starts[-1] != start or any(type(r[0]) is not int or r[0] < 0 for r in records):
            raise self.error(f"has payloads that end at {starts[-1]}, its directory is at {start}")
        return names, records, starts

    @property
    def _names(self) -> list[tuple[str, str]]:
        return self._directory[0]

    @property
    def _records(self) -> list[Any]:
        return self._directory[1]

    @property
    def _starts(self) -> list[int]:
        return self._directory[2]


def _check(payload: Payload) -> None:
    """Check what a directory says of a payload before anything is read or reserved for it."""
    numbers = [payload.depth, payload.cost, *(n for _, n in payload.buffers)]
    numbers += [n for part in payload.parts for n in (part.nbytes, part.block, *part.lengths)]
    if any(type(number) is not int for number in numbers):
        raise ValueError("a number that is none")
    if not 1 <= payload.depth <= MAX_DEPTH or len(payload.bases) != (payload.depth > 1):
        raise ValueError(f"depth {payload.depth} with {len(payload.bases)} bases")
    if not isinstance(payload.params, bytes) or len(payload.params) > MAX_PARAMS:
        raise ValueError("params")
    ids = [*payload.bases, *(identity for identity, _ in payload.buffers)]
    if any(
        i.dtype not in BITS or not isinstance(i.digest, bytes) or len(i.digest) != 32 for i in ids
    ):
        raise ValueError("dtypes or digests of buffers")
    if not payload.buffers or any(not 0 < nbytes <= 2**31 for _, nbytes in payload.buffers):
        raise ValueError("lengths of buffers")
    stored = 0
    for part in payload.parts:
        count = -(-part.nbytes // part.block) if 0 < part.block <= MAX_BLOCK else -1
        if part.dtype not in BITS or part.nbytes < 0 or count != len(part.lengths):
            raise ValueError("blocks of a part")
        if part.block & (part.block - 1) or any(length < 0 for length in part.lengths):
            raise ValueError("lengths of blocks")
        stored += sum(part.lengths)
    if stored != payload.nbytes:
        raise ValueError(f"{stored} bytes in parts, {payload.nbytes} in the pack")


class PackWriter:
    """Writes one pack to a temporary file; :meth:`finish` tells its name."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._names: dict[tuple[str, str], int] = {}
        self._records: list[Any] = []
        self.nbytes = 0
        """Bytes written so far."""
        self.write(MAGIC)

    def name(self, name: str, distribution: str) -> int:
        """The index under which payloads name an update type or a serializer."""
        return self._names.setdefault((name, distribution), len(self._names))

    def end_payload(self, record: list[Any], nbytes: int) -> int:
        """Describe the ``nbytes`` bytes that were written last as a payload; gives its number.

        ``record`` is its row of the directory as specified, without the leading length.
        """
        self._records.append([nbytes, *record])
        return len(self._records) - 1

    def finish(self) -> str:
        """Write directory and trailer; returns the pack's name. The file is not closed."""
        names = [list(name) for name in self._names]
        directory = msgpack.packb([names, self._records])
        packed = compress_text(directory)
        start = self.nbytes
        self.write(packed)
        digest = blake3.blake3(packed).digest()
        self.write(_TRAILER.pack(start, len(directory), digest, END_MAGIC))
        self._file.flush()
        return self._hash.hexdigest()

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes of the payload that :meth:`end_payload` will describe."""
        self._hash.update(data)
        self._file.write(data)
        self.nbytes += len(data)
