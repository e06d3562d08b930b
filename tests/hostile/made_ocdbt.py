"""Makes stores of OCDBT by hand: what a test says, however wrong, under right checksums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import google_crc32c
import zstandard

MANIFEST, NODE = 0x0CDB3A2A, 0x0CDB20DE
NAMES = [f"d/{n:032x}" for n in range(4)]
"""Paths of data files."""


class Outside(NamedTuple):
    """A value, or a node, that lies in a file."""

    start: int
    nbytes: int
    file: int = 0


def number(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))


def numbers(values: Sequence[int]) -> bytes:
    return b"".join(map(number, values))


def sealed(magic: int, body: bytes, *, packed: bool = False, version: int = 0) -> bytes:
    """A node with its header and its checksum."""
    body = zstandard.ZstdCompressor().compress(body) if packed else body
    head = magic.to_bytes(4, "big") + (len(body) + 18).to_bytes(8, "little")
    data = head + bytes((version, packed)) + body
    return data + google_crc32c.value(data).to_bytes(4, "little")


def files(paths: Sequence[str], bases: Sequence[int] | None = None) -> bytes:
    """A table of files, none of which shares a prefix with the one before."""
    lengths = numbers([len(path) for path in paths])
    return (
        number(len(paths))
        + bytes(max(0, len(paths) - 1))
        + lengths
        + numbers(bases or [0] * len(paths))
        + "".join(paths).encode()
    )


def keys(names: Sequence[bytes]) -> bytes:
    return bytes(max(0, len(names) - 1)) + numbers([len(name) for name in names])


def places(found: Sequence[Outside]) -> bytes:
    return (
        numbers([place.file for place in found])
        + numbers([place.start for place in found])
        + numbers([place.nbytes for place in found])
    )


def leaf(values: dict[bytes, bytes | Outside], paths: Sequence[str] = NAMES) -> bytes:
    """The body of a leaf."""
    outside = [value for value in values.values() if isinstance(value, Outside)]
    inside = [value for value in values.values() if isinstance(value, bytes)]
    sizes = [v.nbytes if isinstance(v, Outside) else len(v) for v in values.values()]
    return (
        b"\0" + files(paths) + number(len(values)) + keys(list(values)) + b"".join(values)
        + numbers(sizes) + bytes(isinstance(value, Outside) for value in values.values())
        + numbers([place.file for place in outside]) + numbers([place.start for place in outside])
        + b"".join(inside)
    )  # fmt: skip


def interior(height: int, children: dict[bytes, Outside], paths: Sequence[str] = NAMES) -> bytes:
    """The body of a node above others, whose keys are all prefixes."""
    names, count = list(children), len(children)
    return (
        bytes((height,)) + files(paths) + number(count) + keys(names)
        + numbers([len(name) for name in names]) + b"".join(names)
        + places(list(children.values())) + bytes(3 * count)
    )  # fmt: skip


def manifest(
    root: Outside, height: int = 0, *, kind: int = 0, paths: Sequence[str] = NAMES
) -> bytes:
    """A manifest of one version."""
    config = bytes(16) + number(kind) + numbers([1024, 10**8]) + b"\x04" + b"\x01\0\0\0\0"
    version = b"\x01\x01" + bytes((height,)) + places([root]) + bytes(3 + 8)
    return sealed(MANIFEST, config + files(paths) + version + b"\0")
