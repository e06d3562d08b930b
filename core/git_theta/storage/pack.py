"""Packs: immutable files of payloads, as docs/spec/pack-v1.md specifies them.

Reading and writing the file; not what its payloads mean (:mod:`git_theta.storage.decode`) and not
where packs are kept.
"""

from __future__ import annotations

import re
import struct
from array import array
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import blake3
import msgpack

from git_theta.errors import PackError, StoreError
from git_theta.storage.handles import SharedFile
from git_theta.storage.payload import (
    MALFORMED,
    MAX_RECORD,
    MIN_RECORD,
    BufferId,
    Payload,
    parse_payload,
    unpack,
)
from git_theta.zstd_frame import compress_text, decompress

MAGIC = b"GTHPACK1"
END_MAGIC = b"GTHPEND1"
PACK_BYTES = 64 * 2**20
"""A pack is ended once it holds that many bytes."""
DIRECTORY_BYTES = 8 * 2**20
"""A pack is also ended once its directory has that many bytes."""
MAX_DIRECTORY = 64 * 2**20
MAX_NAMES = 64 * 2**10
"""Longest list of names in a directory, in bytes."""

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_TRAILER = struct.Struct("<QQ32s8s")


class _Directory(NamedTuple):
    names: tuple[tuple[str, str], ...]
    data: bytes
    records: Sequence[int]
    """Where each payload's description begins in ``data``, and where the last one ends."""
    starts: Sequence[int]
    """Where each payload begins in the pack, and where the last one ends."""


class Pack:
    """A pack that can be read."""

    def __init__(self, path: Path) -> None:
        self.id = path.name
        self.path = path
        self.file = SharedFile(path)

    def close(self) -> None:
        """Close the file; it is opened again when it is read."""
        self.file.close()

    def __enter__(self) -> Pack:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._directory.records) - 1

    def payload(self, number: int) -> Payload:
        """The payload of a number, checked.

        Raises
        ------
        PackError
            When the directory does not say what the specification demands.
        """
        if not 0 <= number < len(self):
            raise self.error(f"has {len(self)} payloads, expected a number {number}")
        names, data, records, starts = self._directory
        try:
            row = data[records[number] : records[number + 1]]
            return parse_payload(row, names, starts[number])
        except MALFORMED as fault:
            raise self.error(f"has a malformed payload {number}: {fault}") from fault

    def row(self, number: int) -> list[Any]:
        """What the directory says of a payload, unchecked; names in place of their numbers."""
        names, data, records, _ = self._directory
        row = list(unpack(data[records[number] : records[number + 1]]))
        row[1] = names[row[1]]
        row[6] = [[names[part[0]], *part[1:]] for part in row[6]]
        return row

    def buffers(self) -> Iterator[tuple[int, int, int, BufferId]]:
        """All buffers in the pack: number of the payload, slot in it, depth, identity."""
        for number in range(len(self)):
            payload = self.payload(number)
            for slot, (identity, _) in enumerate(payload.buffers):
                yield number, slot, payload.depth, identity

    def error(self, what: str) -> PackError:
        """An error about this pack."""
        return PackError(
            f"Pack {self.id} {what}",
            remedy="Run git theta fsck to see what is damaged, and restore the pack from a copy",
        )

    @cached_property
    def _directory(self) -> _Directory:
        size = self.file.size
        if size < len(MAGIC) + _TRAILER.size:
            raise self.error(f"has {size} bytes, too few for a pack")
        trailer = self.file.read(size - _TRAILER.size, _TRAILER.size)
        start, nbytes, digest, magic = _TRAILER.unpack(trailer)
        if bytes(self.file.read(0, 8)) != MAGIC or magic != END_MAGIC:
            raise self.error("does not begin and end as a pack of version 1 does")
        end = size - _TRAILER.size
        if not len(MAGIC) <= start <= end or max(nbytes, end - start) > MAX_DIRECTORY:
            raise self.error(f"puts a directory of {nbytes} bytes at {start}, has {size}")
        data = self.file.read(start, end - start)
        if blake3.blake3(data).digest() != digest:
            raise self.error("has a directory that does not match its digest")
        try:
            return _read_directory(decompress(data, nbytes), start)
        except (*MALFORMED, PackError) as fault:
            raise self.error(f"has a malformed directory: {fault}") from fault


def _read_directory(data: bytes, end: int) -> _Directory:
    """Find the payloads' descriptions, each of which is only looked into when it is asked for."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(data))
    unpacker.feed(data)
    if unpacker.read_array_header() != 2:
        raise ValueError("expected names and payloads")
    at = unpacker.tell()
    unpacker.skip()
    if unpacker.tell() - at > MAX_NAMES:
        raise ValueError(f"names of {unpacker.tell() - at} bytes")
    names = tuple((_word(name), _word(who)) for name, who in unpack(data[at : unpacker.tell()]))
    count = unpacker.read_array_header()
    records, starts = array("Q", [unpacker.tell()]), array("Q", [len(MAGIC)])
    for _ in range(count):
        at = records[-1]
        unpacker.skip()
        records.append(unpacker.tell())
        if not MIN_RECORD <= records[-1] - at <= MAX_RECORD or data[at] != 0x98:
            raise ValueError(f"payload {len(records) - 2} is described in {records[-1] - at} bytes")
        starts.append(starts[-1] + _integer(data, at + 1))
        if starts[-1] > end:
            break
    if starts[-1] != end or records[-1] != len(data):
        raise ValueError(f"payloads end at {starts[-1]}, expected {end} where the directory is")
    return _Directory(names, data, records, starts)


def _integer(data: bytes, at: int) -> int:
    """An unsigned msgpack integer."""
    width = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}.get(data[at], 0)
    if data[at] > 0x7F and not width:
        raise ValueError("the length of a payload is no number")
    return int.from_bytes(data[at + 1 : at + 1 + width]) if width else data[at]


def _word(value: Any) -> str:
    if type(value) is not str or not _WORD.fullmatch(value):  # it will stand in a message
        raise ValueError(f"the name {value!r:.80}")
    return value


class PackWriter:
    """Writes one pack to a temporary file; :meth:`finish` tells its name."""

    def __init__(self, file: BinaryIO) -> None:
        import hashlib  # OpenSSL is large, and whoever only reads packs does without

        self._file = file
        self._hash = hashlib.sha256()
        self._names: dict[tuple[str, str], int] = {}
        self._records: list[bytes] = []
        self.directory_bytes = 0
        """Bytes of the directory so far."""
        self.nbytes = 0
        """Bytes written so far."""
        self.write(MAGIC)

    def name(self, name: str, distribution: str) -> int:
        """The index under which payloads name an update type or a serializer."""
        return self._names.setdefault((name, distribution), len(self._names))

    def end_payload(self, record: list[Any], nbytes: int) -> int:
        """Describe the ``nbytes`` bytes that were written last as a payload; gives its number.

        ``record`` is its row of the directory as specified, without the leading length.

        Raises
        ------
        StoreError
            When the row is too long for a reader.
        """
        packed = msgpack.packb([nbytes, *record])
        if len(packed) > MAX_RECORD:
            raise StoreError(
                f"A payload is described in {len(packed)} bytes, expected at most {MAX_RECORD}",
                remedy="Its serializer makes too many blocks",
            )
        self._records.append(packed)
        self.directory_bytes += len(packed)
        return len(self._records) - 1

    def finish(self) -> str:
        """Write directory and trailer; returns the pack's name. The file is not closed."""
        names = [list(name) for name in self._names]
        count = msgpack.Packer().pack_array_header(len(self._records))
        directory = b"".join((b"\x92", msgpack.packb(names), count, *self._records))
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
