"""Links of a large group: a tree that names them, and a heap in which they lie.

Source: HDF5 File Format Specification 3.0, III.A.2 (version 2 B-trees) and III.G (fractal heaps).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from git_theta.errors import CheckpointError
from theta_tensorflow.hdf5.structure import UNDEFINED, Structure, unpack

_LINK_NAMES = 5
_ID = 7
_HASH = 4
_NODE = 10
"""Bytes of a tree node besides its records: signature, version, type, checksum."""
_MAX_LEVELS = 16


@dataclass(frozen=True, slots=True)
class _Heap:
    structure: Structure
    bits: int
    """Of an offset into it."""
    width: int
    """Blocks in a row of its table."""
    first: int
    """Bytes of a block in the first row."""
    largest: int
    """Bytes of the largest block that holds links itself."""
    root: int
    rows: int
    """Of the root; 0: it holds links itself."""


class _Level(NamedTuple):
    """Sizes in the nodes of one level of a tree."""

    most: int
    """Records of the whole tree below such a node."""
    count_bytes: int
    """Bytes that tell how many records lie below a child."""


def read_heap(structure: Structure, heap: int, tree: int) -> Iterator[bytes]:
    """The link messages of a group.

    Raises
    ------
    CheckpointError
        When the heap or the tree is malformed.
    """
    opened = _open_heap(structure, heap)
    for record in _read_tree(structure, tree):
        yield _read_object(opened, record[_HASH:])


def _open_heap(structure: Structure, address: int) -> _Heap:
    head = structure.expect(address, b"FRHP", 142)
    length, filters = unpack("HH", head, 5)
    width, first, largest, bits, _, root, rows = unpack("HQQHHQH", head, 110)
    sound = length == _ID and width and first and bits <= 64 and rows <= 64
    if not sound or filters or first & (first - 1) or largest & (largest - 1):
        raise CheckpointError(f"Expected a heap of links at byte {address}, found another")
    return _Heap(structure, bits, width, first, largest, root, rows)


def _read_object(heap: _Heap, identity: bytes) -> bytes:
    if identity[0] & 0x30:
        raise CheckpointError("A link is kept outside of the blocks of its heap")
    split = 1 + (heap.bits + 7) // 8
    offset = int.from_bytes(identity[1:split], "little")
    nbytes = int.from_bytes(identity[split:], "little")
    block, address, rows = 0, heap.root, heap.rows
    for _ in range(_MAX_LEVELS):
        if not rows:
            return heap.structure.read(address + offset - block, nbytes)
        number, start, size = _find_block(heap, offset - block)
        at = address + 13 + (heap.bits + 7) // 8 + 8 * number
        address, block = unpack("Q", heap.structure.read(at, 8))[0], block + start
        if address == UNDEFINED or number >= rows * heap.width:
            break
        rows = 0
        if size > heap.largest:
            rows = size.bit_length() - (heap.first * heap.width).bit_length() + 1
    raise CheckpointError(f"Expected a link at byte {offset} of a heap, found none")


def _find_block(heap: _Heap, offset: int) -> tuple[int, int, int]:
    """Which block of a table an offset lies in: its number, where it begins, its bytes."""
    row, start, size = 0, 0, heap.first
    while offset >= start + size * heap.width:
        start += size * heap.width
        row += 1
        size = heap.first << max(0, row - 1)
    column = (offset - start) // size
    return row * heap.width + column, start + column * size, size


def _read_tree(structure: Structure, address: int) -> Iterator[bytes]:
    head = structure.expect(address, b"BTHD", 34)
    kind, node_bytes, width, depth, _, _, root, count = unpack("BIHHBBQH", head, 5)
    if kind != _LINK_NAMES or width != _HASH + _ID or depth >= _MAX_LEVELS or node_bytes <= _NODE:
        raise CheckpointError(f"Expected a tree of links at byte {address}, found another")
    most = (node_bytes - _NODE) // width
    short = _bytes_for(most)
    levels = [_Level(most, 0)]
    for _ in range(depth):
        below = levels[-1]
        pointer = 8 + short + below.count_bytes
        most = max(0, node_bytes - _NODE - pointer) // (width + pointer)
        total = (most + 1) * below.most + most
        levels.append(_Level(total, _bytes_for(total)))
    seen = {root}
    todo = [(root, count, depth)]
    while todo:
        address, count, level = todo.pop()
        data = structure.expect(address, b"BTIN" if level else b"BTLF", 6 + count * width)
        for at in range(6, 6 + count * width, width):
            yield data[at : at + width]
        if not level:
            continue
        pointer = 8 + short + levels[level - 1].count_bytes
        children = structure.read(address + len(data), (count + 1) * pointer)
        for at in range(0, len(children), pointer):
            child = unpack("Q", children, at)[0]
            if child in seen:
                raise CheckpointError(f"The tree node at byte {child} is its own descendant")
            seen.add(child)
            records = int.from_bytes(children[at + 8 : at + 8 + short], "little")
            todo.append((child, records, level - 1))


def _bytes_for(limit: int) -> int:
    """Bytes of a number up to a limit."""
    return max(1, (limit.bit_length() + 7) // 8)
