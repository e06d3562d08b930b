"""Payloads: what a pack's directory says of them, checked before anything is read or reserved."""

from __future__ import annotations

from collections.abc import Sequence
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
BUNDLE = 2**18
"""Most decoded bytes of a payload that several buffers share."""
BUNDLE_BUFFERS = 2**12
"""Most buffers that share a payload."""
BUNDLE_BLOCKS = ((2**12, 2**11), (3 * 2**12, 2**12), (2**15, 2**13))
"""Buffers shorter than the first number share payloads whose blocks have the second."""

MALFORMED = (TypeError, ValueError, LookupError, OverflowError, msgpack.UnpackException)
"""What reading a malformed directory may raise."""


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


def unpack(data: bytes) -> Any:
    """A msgpack value of arrays, numbers, text and bytes; arrays as tuples, which are small."""
    return msgpack.unpackb(data, use_list=False, object_pairs_hook=_refuse, ext_hook=_refuse)


def _refuse(value: object, *_: object) -> None:
    raise ValueError("a map or an extension type")


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
    if not 1 <= depth <= MAX_DEPTH or not (depth > 1) <= len(bases) < depth:
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
    if len(sizes) > BUNDLE_BUFFERS or sum(sizes) > BUNDLE:
        raise ValueError(f"{len(sizes)} buffers of {sum(sizes)} bytes together")
    if len({identity.dtype for identity, _ in payload.buffers}) > 1:
        raise ValueError("buffers of several dtypes together")
    longest = min(sizes) // 2 + MIN_BLOCK  # so to read one takes at most 2n + 4 KiB
    if payload.depth > 1 or any(part.block > longest for part in payload.parts):
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
    rest = nbytes - (len(lengths) - 1) * block
    if lengths and not (0 <= min(lengths) <= max(lengths) <= block and lengths[-1] <= rest):
        raise ValueError("a block that is longer than what it decodes to")
    return sum(lengths)
