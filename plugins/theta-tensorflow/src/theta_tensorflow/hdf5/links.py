"""What a group of an HDF5 file holds: names, and the addresses of object headers.

Soft links name what is found anyway. External links name other files: nothing that has one is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from git_theta.errors import CheckpointError
from theta_tensorflow.hdf5.headers import LINK, LINK_INFO, SYMBOL_TABLE, Message
from theta_tensorflow.hdf5.heaps import read_heap
from theta_tensorflow.hdf5.structure import UNDEFINED, Structure, decoded, unpack

_HARD, _SOFT, _EXTERNAL = 0, 1, 64
_SOFT_ENTRY = 2
_ENTRY = 40


class Link(NamedTuple):
    """A name in a group."""

    name: str
    address: int
    """Of the object header."""


def is_group(messages: Sequence[Message]) -> bool:
    """Whether messages are those of a group."""
    return any(message.kind in (SYMBOL_TABLE, LINK_INFO, LINK) for message in messages)


def read_links(structure: Structure, messages: Sequence[Message]) -> Iterator[Link]:
    """The hard links of a group, whichever way it keeps them.

    Raises
    ------
    CheckpointError
        When one of its links leads to another file, or it is malformed.
    """
    for kind, data, _ in messages:
        if kind == SYMBOL_TABLE:
            tree, heap = unpack("QQ", data)
            yield from _read_table(structure, tree, heap)
        elif kind == LINK:
            yield from _read_link(data)
        elif kind == LINK_INFO:
            yield from _read_many(structure, data)


def _read_link(data: bytes) -> Iterator[Link]:
    version, flags = unpack("BB", data)
    if version != 1:
        raise CheckpointError(f"Expected a link of version 1, found {version}")
    at, kind = 2, _HARD
    if flags & 0x08:
        kind = unpack("B", data, at)[0]
        at += 1
    at += 8 * bool(flags & 0x04) + bool(flags & 0x10)
    width = 1 << (flags & 3)
    nbytes = int.from_bytes(data[at : at + width], "little")
    at += width
    name = decoded(data[at : at + nbytes])
    if kind == _HARD:
        yield Link(name, unpack("Q", data, at + nbytes)[0])
    elif kind != _SOFT:
        raise CheckpointError(f"{name!r} is a link to another file, which is not followed")


def _read_many(structure: Structure, data: bytes) -> Iterator[Link]:
    """The links of a group that has more than its header shall hold."""
    flags = unpack("BB", data)[1]
    heap, tree = unpack("QQ", data, 2 + 8 * (flags & 1))
    if heap != UNDEFINED:
        for message in read_heap(structure, heap, tree):
            structure.charge(0)
            yield from _read_link(message)


def _read_table(structure: Structure, tree: int, heap: int) -> Iterator[Link]:
    head = structure.expect(heap, b"HEAP", 32)
    nbytes, _, names = unpack("QQQ", head, 8)
    todo, seen = [tree], {tree}
    while todo:
        address = todo.pop()
        node = structure.expect(address, b"TREE", 24)
        kind, level, used = unpack("BBH", node, 4)
        if kind != 0:
            raise CheckpointError(f"Expected a group's tree at byte {address}, found another")
        entries = structure.read(address + 24, 16 * used)
        children = unpack("QQ" * used, entries)[1::2]
        if not level:
            for child in children:
                yield from _read_symbols(structure, child, names, names + nbytes)
            continue
        for child in children:
            if child in seen:
                raise CheckpointError(f"The tree node at byte {child} is its own descendant")
            seen.add(child)
            todo.append(child)


def _read_symbols(structure: Structure, address: int, names: int, end: int) -> Iterator[Link]:
    head = structure.expect(address, b"SNOD", 8)
    count = unpack("H", head, 6)[0]
    entries = structure.read(address + 8, _ENTRY * count)
    for at in range(0, _ENTRY * count, _ENTRY):
        name, header, kind = unpack("QQI", entries, at)
        structure.charge(0)
        if kind != _SOFT_ENTRY:
            yield Link(structure.name(names + name, end), header)
