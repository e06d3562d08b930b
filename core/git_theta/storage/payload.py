"""Payloads: what a pack's directory says of them, checked before anything is read or reserved."""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from operator import gt
from typing import Any, NamedTuple

import msgpack

from git_theta.dtypes import BITS

MAX_RECORD = 4 * 2**20
"""Longest description of a payload, in bytes."""
MIN_RECORD = 49
"""Shortest description of a payload, in bytes: so a directory cannot claim too many."""
MAX_DEPTH = 8
MIN_BLOCK = 2**11
MAX_BLOCK = 8 * 2**20
MAX_BUFFER = 2**30
MAX_PARAMS = 64 * 2**10
BUNDLE = 2**20
"""Most decoded bytes of a payload that buffers share."""
BUNDLE_BUFFERS = 2**14
"""Most buffers that share a payload."""
SHORT = 2**15
"""Buffers that share payloads are shorter than this, in bytes."""

MALFORMED = (
    TypeError,
    ValueError,
    LookupError,
    OverflowError,
    msgpack.UnpackException,
    struct.error,
)
"""What reading a malformed directory may raise."""


class BufferId(NamedTuple):
    """What a buffer is: its dtype and the BLAKE3 of its little-endian bytes."""

    dtype: str
    digest: bytes

    def __str__(self) -> str:
        return f"{self.dtype} {self.digest.hex()}"


class Column:
    """Buffers of one dtype, by their digests: an object each would take longer to read."""

    def __init__(self, dtype: str, digests: bytes, count: int) -> None:
        if type(digests) is not bytes or len(digests) != 32 * count:
            raise ValueError(f"digests that are not {count} times 32 bytes")
        self.dtype = dtype
        self._digests = digests

    def __len__(self) -> int:
        return len(self._digests) // 32

    def __getitem__(self, slot: int) -> BufferId:
        return BufferId(self.dtype, self._digests[32 * slot : 32 * slot + 32])

    def __iter__(self) -> Iterator[BufferId]:
        return map(self.__getitem__, range(len(self)))


class Members:
    """The buffers of a bundle, each with its length in bytes."""

    def __init__(self, dtype: str, digests: bytes, sizes: Sequence[int]) -> None:
        self._buffers = Column(dtype, digests, len(sizes))
        self.dtype = dtype
        self.sizes = sizes
        """Length of each in bytes."""
        self._blocks: list[int] = []

    def __len__(self) -> int:
        return len(self.sizes)

    def block_of(self, slot: int, sizes: Sequence[int]) -> int:
        """In which of the blocks of these lengths the buffer of a slot lies."""
        if not self._blocks:
            ends = list(accumulate(sizes))
            self._blocks = [bisect_left(ends, end) for end in accumulate(self.sizes)]
        return self._blocks[slot]

    def __getitem__(self, slot: int) -> tuple[BufferId, int]:
        return self._buffers[slot], self.sizes[slot]

    def __iter__(self) -> Iterator[tuple[BufferId, int]]:
        return zip(self._buffers, self.sizes, strict=True)


class StoredPart(NamedTuple):
    """A run of serialized numbers in a pack."""

    serializer: tuple[str, str]
    """Name, and the distribution that offers it."""
    dtype: str
    nbytes: int
    """Bytes before serializing."""
    block: int
    """Bytes of a block before serializing; 0 in a bundle."""
    lengths: Sequence[int]
    """Stored bytes of each block."""
    sizes: Sequence[int] = ()
    """Bytes of each block before serializing in a bundle."""


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
    bases: tuple[BufferId, ...] | Column
    """What it stands on; in a bundle, what each of the buffers does, or none."""
    parts: tuple[StoredPart, ...]
    buffers: tuple[tuple[BufferId, int], ...] | Members
    """The buffers it decodes to, each with its length in bytes; one if it is no bundle."""

    def bases_of(self, slot: int) -> tuple[BufferId, ...]:
        """What the buffer of a slot stands on."""
        return (self.bases[slot],) if isinstance(self.bases, Column) else self.bases

    def stored(self, slot: int) -> int:
        """Stored bytes that are read for the buffer of a slot, those of its bases left aside."""
        if not isinstance(self.buffers, Members):
            return self.nbytes
        part = self.parts[0]
        if isinstance(self.bases, Column):  # a block each, which need not be as long
            return part.lengths[slot]
        return part.lengths[self.buffers.block_of(slot, part.sizes)]


def unpack(data: bytes) -> Any:
    """A msgpack value of arrays, numbers, text and bytes; arrays as tuples, which are small."""
    return msgpack.unpackb(data, use_list=False, object_pairs_hook=_refuse, ext_hook=_refuse)


def _refuse(value: object, *_: object) -> None:
    raise ValueError("a map or an extension type")


def print_column(numbers: Sequence[int]) -> bytes:
    """Numbers as a column of 32-bit integers."""
    return struct.pack(f"<{len(numbers)}I", *numbers)


def _read_column(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 4}I", data)


def longest_block(shortest: int) -> int:
    """Bytes of the longest block that a buffer may share, so that reading it takes no more."""
    return 2 * shortest + 4096


def parse_payload(data: bytes, names: Sequence[tuple[str, str]], start: int) -> Payload:
    """The payload that begins at ``start``, from its row of the directory.

    Raises one of :data:`MALFORMED` when it does not say what the specification demands.
    """
    payload = _parse(unpack(data), names, start)
    _check(payload)
    return payload


def _parse(record: Any, names: Sequence[tuple[str, str]], start: int) -> Payload:
    nbytes, update, params, depth, cost, bases, parts, buffers = record
    return Payload(
        start,
        nbytes,
        _name(names, update),
        params,
        depth,
        cost,
        _parse_bases(bases, buffers),
        tuple(_parse_part(_name(names, name), *rest) for name, *rest in parts),
        _parse_buffers(*buffers),
    )


def _parse_bases(rows: Any, buffers: Any) -> tuple[BufferId, ...] | Column:
    _, _, nbytes = buffers[0]
    if rows and type(nbytes) is bytes:
        ((dtype, digests),) = rows
        return Column(dtype, digests, len(nbytes) // 4)
    return tuple(BufferId(*base) for base in rows)


def _parse_part(
    name: tuple[str, str], dtype: str, nbytes: int, block: Any, lengths: Any
) -> StoredPart:
    if type(block) is bytes:
        sizes = _read_column(block)
        return StoredPart(name, dtype, nbytes, 0, _read_column(lengths), sizes)
    return StoredPart(name, dtype, nbytes, block, lengths)


def _parse_buffers(row: Any) -> tuple[tuple[BufferId, int], ...] | Members:
    dtype, digest, nbytes = row
    if type(nbytes) is bytes:
        return Members(dtype, digest, _read_column(nbytes))
    return ((BufferId(dtype, digest), nbytes),)


def _name(names: Sequence[tuple[str, str]], number: Any) -> tuple[str, str]:
    if type(number) is not int or not 0 <= number < len(names):
        raise ValueError(f"name {number!r} of {len(names)}")
    return names[number]


def _check(payload: Payload) -> None:
    """Check what a directory says of a payload before anything is read or reserved for it."""
    _, nbytes, _, params, depth, cost, bases, parts, buffers = payload
    if type(depth) is not int or type(cost) is not int:
        raise ValueError("a number that is none")
    count = min(len(bases), 1) if isinstance(bases, Column) else len(bases)
    if not 1 <= depth <= MAX_DEPTH or not (depth > 1) <= count < depth:
        raise ValueError(f"depth {depth} with {count} bases")
    if cost < nbytes or (depth == 1 and cost != nbytes):
        raise ValueError(f"a cost of {cost} bytes, its own are {nbytes}")
    if type(params) is not bytes or len(params) > MAX_PARAMS:
        raise ValueError("params")
    for base in bases if isinstance(bases, tuple) else (bases[0],):
        _check_identity(base)
    if isinstance(buffers, Members):
        _check_bundle(buffers, payload)
        stored = sum(parts[0].lengths)
    else:
        identity, size = buffers[0]
        _check_identity(identity)
        if type(size) is not int or not 0 < size <= MAX_BUFFER:
            raise ValueError(f"a buffer of {size!r} bytes")
        stored = sum(map(_check_part, parts))
    if stored != nbytes:
        raise ValueError(f"{stored} bytes in parts, {nbytes} in the pack")


def _check_identity(buffer: BufferId) -> None:
    dtype, digest = buffer
    if dtype not in BITS or type(digest) is not bytes or len(digest) != 32:
        raise ValueError("dtypes or digests of buffers")


def _check_bundle(buffers: Members, payload: Payload) -> None:
    """Check buffers that share a payload: to read one must hardly take more than itself."""
    (part,) = payload.parts
    if buffers.dtype not in BITS or part.dtype not in BITS or type(part.nbytes) is not int:
        raise ValueError(f"a part of {part.dtype} for buffers of {buffers.dtype}")
    sizes, blocks = buffers.sizes, part.sizes
    if not 0 < len(sizes) <= BUNDLE_BUFFERS or sum(sizes) > BUNDLE:
        raise ValueError(f"{len(sizes)} buffers together in {sum(sizes)} bytes")
    if not 0 < min(sizes) <= max(sizes) < SHORT or sum(blocks) != part.nbytes:
        raise ValueError("lengths of buffers")
    if len(blocks) != len(part.lengths) or any(map(gt, part.lengths, blocks)):
        raise ValueError("a block that is longer than what it decodes to")
    if isinstance(payload.bases, Column):
        if len(blocks) != len(sizes) or sum(blocks) > 2 * BUNDLE:
            raise ValueError(f"{len(blocks)} blocks of {len(sizes)} buffers with bases")
        if payload.bases.dtype != buffers.dtype:
            raise ValueError(f"bases of {payload.bases.dtype} for buffers of {buffers.dtype}")
        shortest = sizes
    else:
        shortest = _shortest(sizes, blocks)
        if part.dtype != buffers.dtype:
            raise ValueError(f"a part of {part.dtype} for buffers of {buffers.dtype}")
    if min(blocks) <= 0 or any(map(gt, blocks, map(longest_block, shortest))):
        raise ValueError("a block that is too long for a buffer in it")


def _shortest(sizes: Sequence[int], blocks: Sequence[int]) -> list[int]:
    """The shortest buffer in each block; checks that every buffer lies in one."""
    ends, found, first = list(accumulate(sizes)), [], 0
    if sum(blocks) != ends[-1] or min(blocks) <= 0:
        raise ValueError("blocks that are not the buffers")
    for end in accumulate(blocks):
        last = bisect_left(ends, end)
        if ends[last] != end:
            raise ValueError("a block that ends inside a buffer")
        found.append(min(sizes[first : last + 1]))
        first = last + 1
    return found


def _check_part(part: StoredPart) -> int:
    """Check a part; how many bytes it has in the pack."""
    _, dtype, nbytes, block, lengths, _ = part
    if type(lengths) is not tuple or any(type(n) is not int for n in (nbytes, block, *lengths)):
        raise ValueError("a number that is none")
    if dtype not in BITS or not MIN_BLOCK <= block <= MAX_BLOCK or block & (block - 1):
        raise ValueError(f"a part of {dtype} in blocks of {block} bytes")
    if nbytes < 0 or len(lengths) != -(-nbytes // block):
        raise ValueError(f"{len(lengths)} blocks of {block} bytes for {nbytes} bytes")
    rest = nbytes - (len(lengths) - 1) * block
    if lengths and not (0 <= min(lengths) <= max(lengths) <= block and lengths[-1] <= rest):
        raise ValueError("a block that is longer than what it decodes to")
    return sum(lengths)
