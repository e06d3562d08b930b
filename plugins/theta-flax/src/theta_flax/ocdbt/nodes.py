"""The manifest and the B-tree nodes of OCDBT.

https://google.github.io/tensorstore/kvstore/ocdbt/ has the format.
"""

from __future__ import annotations

from typing import NamedTuple

from git_theta.errors import CheckpointError, LimitExceeded
from git_theta.source import Source
from theta_flax.checksums import check_crc
from theta_flax.frames import unpack
from theta_flax.ocdbt.fields import Fields

MAX_NODE = 2**25
"""Bytes of a node, packed and unpacked."""

MANIFEST_FILE = "manifest.ocdbt"
"""The file in a store's folder that tells where its tree begins."""

MANIFEST = 0x0CDB3A2A
"""The magic number of a manifest."""
NODE = 0x0CDB20DE
"""The magic number of a B-tree node."""


class Place(NamedTuple):
    """A run of bytes in a file of the store."""

    path: str
    """The file, from the store's folder."""
    base: str
    """What the paths begin with that are told there."""
    start: int
    nbytes: int


class Root(NamedTuple):
    """Where the latest version's tree begins."""

    place: Place
    height: int


class Leaf(NamedTuple):
    """A key and its value."""

    key: bytes
    value: bytes | None
    """None: it lies in a file."""
    place: Place | None


class Child(NamedTuple):
    """A node below a node."""

    prefix: bytes
    """What all keys below begin with."""
    place: Place


class Node(NamedTuple):
    """A node of the tree: one of both lists is empty."""

    leaves: list[Leaf]
    children: list[Child]
    nbytes: int
    """Its bytes, unpacked."""


def read_manifest(file: Source) -> Root:
    """Find the root of the latest version.

    Raises
    ------
    CheckpointError
        When it is malformed, or keeps its versions elsewhere.
    """
    fields = _unpack(file, MANIFEST)
    fields.take(16)  # the store's id
    kind, _, _ = fields.numbers(3)
    if kind:
        raise CheckpointError("Expected a manifest in one file, found a numbered one")
    fields.take(1)
    if fields.number():
        fields.take(4)  # the level of compression
    files = _read_files(fields, "")
    count = fields.count()
    if not count:
        raise CheckpointError("Expected a version in the manifest, found none")
    fields.numbers(count)
    heights = fields.take(count)
    places = _read_places(fields, files, count)
    return Root(places[-1], heights[-1])


def read_node(file: Source, place: Place, height: int, prefix: bytes) -> Node:
    """Read a node of the tree.

    Parameters
    ----------
    file
        The file in which it lies.
    place
        Where.
    height
        How far it is above the leaves, as the node above says.
    prefix
        What all of its keys begin with.

    Raises
    ------
    CheckpointError
        When it is malformed.
    """
    fields = _unpack(file.window(place.start, place.nbytes), NODE)
    (found,) = fields.take(1)
    if found != height:
        raise CheckpointError(f"Expected a node of height {height}, found {found}")
    files = _read_files(fields, place.base)
    count = fields.count()
    leaves = [] if height else _read_leaves(fields, files, count, prefix)
    children = _read_children(fields, files, count, prefix) if height else []
    fields.end()
    return Node(leaves, children, fields.size)


def _unpack(file: Source, magic: int) -> Fields:
    if file.size < 18 or int.from_bytes(file.read(0, 4), "big") != magic:
        raise CheckpointError("Expected a node of OCDBT, found something else")
    if file.size > MAX_NODE:
        raise LimitExceeded(f"Expected nodes of at most {MAX_NODE} bytes, found {file.size}")
    nbytes = int.from_bytes(file.read(4, 8), "little")
    version, compression = file.read(12, 2)
    if nbytes != file.size or version or compression > 1:
        raise CheckpointError(
            f"Expected a node of {file.size} bytes and version 0, "
            f"found {nbytes} bytes, version {version}, compression {compression}"
        )
    data = bytes(file.read(0, nbytes - 4))
    check_crc(data, file.read(nbytes - 4, 4), "a node of OCDBT")
    return Fields(unpack(data[14:], MAX_NODE, "a node") if compression else data[14:])


def _read_files(fields: Fields, base: str) -> list[tuple[str, str]]:
    """Paths of files, and what the paths begin with that are told in them."""
    count = fields.count()
    prefixes, suffixes = fields.numbers(max(0, count - 1)), fields.numbers(count)
    bases = fields.numbers(count)
    paths = fields.texts(prefixes, suffixes, len(base))
    try:
        return [
            (base + str(path, "utf-8"), base + str(path[:length], "utf-8"))
            for path, length in zip(paths, bases, strict=True)
        ]
    except UnicodeDecodeError as fault:
        raise CheckpointError("Expected paths in UTF-8 in a node") from fault


def _read_places(fields: Fields, files: list[tuple[str, str]], count: int) -> list[Place]:
    numbers, starts = fields.numbers(count), fields.numbers(count)
    return _place(files, numbers, starts, fields.numbers(count))


def _place(
    files: list[tuple[str, str]], numbers: list[int], starts: list[int], lengths: list[int]
) -> list[Place]:
    if max(numbers, default=-1) >= len(files):
        raise CheckpointError("Expected a node to name one of its files, found another")
    rows = zip(numbers, starts, lengths, strict=True)
    return [Place(*files[number], start, nbytes) for number, start, nbytes in rows]


def _read_leaves(
    fields: Fields, files: list[tuple[str, str]], count: int, prefix: bytes
) -> list[Leaf]:
    prefixes, suffixes = fields.numbers(max(0, count - 1)), fields.numbers(count)
    keys = fields.texts(prefixes, suffixes, len(prefix))
    lengths, kinds = fields.numbers(count), fields.numbers(count)
    if any(kind > 1 for kind in kinds):
        raise CheckpointError("Expected values in a node or in a file")
    outside = [length for length, kind in zip(lengths, kinds, strict=True) if kind]
    numbers, starts = fields.numbers(len(outside)), fields.numbers(len(outside))
    places = iter(_place(files, numbers, starts, outside))
    leaves = []
    for key, length, kind in zip(keys, lengths, kinds, strict=True):
        value = None if kind else fields.take(length)
        leaves.append(Leaf(prefix + key, value, next(places) if kind else None))
    return leaves


def _read_children(
    fields: Fields, files: list[tuple[str, str]], count: int, prefix: bytes
) -> list[Child]:
    prefixes, suffixes = fields.numbers(max(0, count - 1)), fields.numbers(count)
    shared = fields.numbers(count)
    keys = fields.texts(prefixes, suffixes, len(prefix))
    places = _read_places(fields, files, count)
    fields.numbers(3 * count)  # statistics
    rows = zip(keys, shared, places, strict=True)
    return [Child(prefix + key[:length], place) for key, length, place in rows]
