"""Packs: immutable files of payloads, as docs/spec/pack-v1.md specifies them.

Reading and writing the file; not what its payloads mean (:mod:`git_theta.storage.decode`) and not
where packs are kept.
"""

from __future__ import annotations

import hashlib
import os
import struct
from array import array
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import blake3
import msgpack

from git_theta.dtypes import BITS
from git_theta.errors import PackError, StoreError
from git_theta.source import FileSource, Source
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
MAX_RECORD = 4 * 2**20
"""Longest description of a payload, in bytes."""
MIN_RECORD = 49
"""Shortest description of a payload, in bytes: so a directory cannot claim too many."""
MAX_DEPTH = 8
MIN_BLOCK = 2**11
MAX_BLOCK = 8 * 2**20
MAX_BUFFER = 2**30
MAX_PARAMS = 64 * 2**10
BUNDLE_MEMBER = 2**11
"""Buffers shorter than this may share a payload."""
BUNDLE = 2**18
"""Most decoded bytes of a payload that several buffers share."""
BUNDLE_BUFFERS = 2**12
"""Most buffers that share a payload."""
BUNDLE_BLOCK = 2**11
"""Bytes of a block in such a payload: so to read one buffer never takes more than two of them."""

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


class _Directory(NamedTuple):
    names: tuple[tuple[str, str], ...]
    data: bytes
    records: Sequence[int]
    """Where each payload's description begins in ``data``, and where the last one ends."""
    starts: Sequence[int]
    """Where each payload begins in the pack, and where the last one ends."""


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
            record = _unpack(data[records[number] : records[number + 1]])
            payload = _parse(record, names, starts[number])
            _check(payload)
        except _MALFORMED as fault:
            raise self.error(f"has a malformed payload {number}: {fault}") from fault
        return payload

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
        except (*_MALFORMED, PackError) as fault:
            raise self.error(f"has a malformed directory: {fault}") from fault


def _refuse(value: object, *_: object) -> None:
    raise ValueError("a map or an extension type")


_MALFORMED = (TypeError, ValueError, LookupError, OverflowError, msgpack.UnpackException)


def _unpack(data: bytes) -> Any:
    """A msgpack value of arrays, numbers, text and bytes; arrays as tuples, which are small."""
    return msgpack.unpackb(data, use_list=False, object_pairs_hook=_refuse, ext_hook=_refuse)


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
    names = tuple((_text(name), _text(who)) for name, who in _unpack(data[at : unpacker.tell()]))
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


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError(f"expected text, found {type(value).__name__}")
    return value


def _parse(record: Any, names: Sequence[tuple[str, str]], start: int) -> Payload:
    nbytes, update, params, depth, cost, bases, parts, buffers = record
    return Payload(
        start,
        nbytes,
        _name(names, update),
        params,
        depth,
        cost,
        tuple(BufferId(*base) for base in bases),
        tuple(StoredPart(_name(names, name), *rest) for name, *rest in parts),
        tuple((BufferId(dtype, digest), n) for dtype, digest, n in buffers),
    )


def _name(names: Sequence[tuple[str, str]], number: Any) -> tuple[str, str]:
    if type(number) is not int or not 0 <= number < len(names):
        raise ValueError(f"name {number!r} of {len(names)}")
    return names[number]


def _check(payload: Payload) -> None:
    """Check what a directory says of a payload before anything is read or reserved for it."""
    _, nbytes, _, params, depth, cost, bases, parts, buffers = payload
    if any(type(number) is not int for number in (depth, cost, *(n for _, n in buffers))):
        raise ValueError("a number that is none")
    if not 1 <= depth <= MAX_DEPTH or len(bases) != (depth > 1):
        raise ValueError(f"depth {depth} with {len(bases)} bases")
    if cost < nbytes or (depth == 1 and cost != nbytes):
        raise ValueError(f"a cost of {cost} bytes, its own are {nbytes}")
    if type(params) is not bytes or len(params) > MAX_PARAMS:
        raise ValueError("params")
    for dtype, digest in (*bases, *(identity for identity, _ in buffers)):
        if dtype not in BITS or type(digest) is not bytes or len(digest) != 32:
            raise ValueError("dtypes or digests of buffers")
    if not buffers or any(not 0 < n <= MAX_BUFFER for _, n in buffers):
        raise ValueError("lengths of buffers")
    if len(buffers) > 1:
        _check_bundle(payload)
    stored = sum(map(_check_part, parts))
    if stored != nbytes:
        raise ValueError(f"{stored} bytes in parts, {nbytes} in the pack")


def _check_bundle(payload: Payload) -> None:
    sizes = [nbytes for _, nbytes in payload.buffers]
    if len(sizes) > BUNDLE_BUFFERS or max(sizes) >= BUNDLE_MEMBER or sum(sizes) > BUNDLE:
        raise ValueError(f"{len(sizes)} buffers of {sum(sizes)} bytes together")
    if len({identity.dtype for identity, _ in payload.buffers}) > 1:
        raise ValueError("buffers of several dtypes together")
    if payload.depth > 1 or any(part.block != BUNDLE_BLOCK for part in payload.parts):
        raise ValueError("buffers together that cannot be read one by one")


def _check_part(part: StoredPart) -> int:
    """Check a part; how many bytes it has in the pack."""
    _, dtype, nbytes, block, lengths = part
    if type(lengths) is not tuple or any(type(n) is not int for n in (nbytes, block, *lengths)):
        raise ValueError("a number that is none")
    if dtype not in BITS or not MIN_BLOCK <= block <= MAX_BLOCK or block & (block - 1):
        raise ValueError(f"a part of {dtype} in blocks of {block} bytes")
    if nbytes < 0 or len(lengths) != -(-nbytes // block):
        raise ValueError(f"{len(lengths)} blocks of {block} bytes for {nbytes} bytes")
    if lengths and not 0 <= min(lengths) <= max(lengths) <= block:
        raise ValueError("lengths of blocks")
    return sum(lengths)


class PackWriter:
    """Writes one pack to a temporary file; :meth:`finish` tells its name."""

    def __init__(self, file: BinaryIO) -> None:
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
