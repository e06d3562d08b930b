"""Finds the arrays of a msgpack file of flax, each named by where it hangs: keys joined by dots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from git_theta.checkpoint import MAX_RANK
from git_theta.errors import CheckpointError, LimitExceeded
from theta_flax.arrays import ARRAY, SCALAR, Array, read_array, read_extent, shape_piece
from theta_flax.packed import Kind, Packed

MAX_DEPTH = 1000
"""How deep maps and lists may hold maps and lists; the msgpack library's own limit is 1024."""

MAX_NAME = 1024
"""Characters of the longest path."""

MAX_ARRAYS = 2**19
"""Arrays of one file."""

MAX_CHARACTERS = 2**25
"""Characters of all paths of one file."""

MAX_ITEMS = 2**21
"""Items of one file, what an array consists of not counted."""

CHUNKED = "__msgpack_chunked_array__"
"""The first key of a map that stands for an array of more than 1 GiB, cut into pieces."""


@dataclass(slots=True)
class _Level:
    """A map or a list that is being read."""

    prefix: str
    """What the paths of its items begin with."""
    left: int
    """Items or pairs that are still to come."""
    index: int | None = None
    """Position of the next item of a list; None in a map."""
    whole: tuple[int, ...] | None = None
    """The shape of the array whose pieces are here."""


def find_arrays(packed: Packed) -> Iterator[tuple[str, Array]]:
    """All arrays of a file in file order, each with its path; two may have the same.

    Raises
    ------
    CheckpointError
        When the file is malformed.
    LimitExceeded
        When it has more than the limits of this module.
    """
    levels: list[_Level] = []
    characters = arrays = 0
    path, whole = "", None  # of the item that comes next
    separator = ""  # the root has no name
    for _ in range(MAX_ITEMS):
        item = packed.next()
        if item.kind is Kind.EXTENSION and item.number in (ARRAY, SCALAR):
            arrays, characters = arrays + 1, characters + len(path)
            if arrays > MAX_ARRAYS or characters > MAX_CHARACTERS:
                raise LimitExceeded(f"Expected at most {MAX_ARRAYS} arrays, found more")
            yield path, _shaped(read_array(packed, item), whole)
        elif item.kind is Kind.MAP:
            levels.append(_open_map(packed, item.number, path, separator))
        elif item.kind is Kind.LIST:
            levels.append(_Level(path + separator, item.number, 0))
        if len(levels) > MAX_DEPTH:
            raise LimitExceeded(f"Expected at most {MAX_DEPTH} levels, found more")
        while levels and not levels[-1].left:
            levels.pop()
        if not levels:
            return
        path, whole, separator = _next_path(packed, levels[-1]), levels[-1].whole, "."
    raise LimitExceeded(f"Expected at most {MAX_ITEMS} items, found more")


def _open_map(packed: Packed, pairs: int, path: str, separator: str) -> _Level:
    before = packed.pos
    if pairs != 3 or _read_key(packed) != CHUNKED:
        packed.pos = before
        return _Level(path + separator, pairs)
    packed.expect(Kind.OTHER)
    _expect_key(packed, "shape")
    shape = []
    for dimension in range(packed.expect(Kind.MAP).number):
        if dimension == MAX_RANK:
            raise LimitExceeded(f"Expected at most {MAX_RANK} dimensions, found more")
        _expect_key(packed, str(dimension))
        shape.append(read_extent(packed))
    _expect_key(packed, "chunks")
    return _Level(f"{path}[", packed.expect(Kind.MAP).number, whole=tuple(shape))


def _shaped(array: Array, whole: tuple[int, ...] | None) -> Array:
    if whole is None or len(array.shape) != 1:
        return array
    return array._replace(shape=shape_piece(whole, array.shape[0]))


def _next_path(packed: Packed, level: _Level) -> str:
    level.left -= 1
    if level.index is None:
        key = _read_key(packed)
    else:
        key = str(level.index)
        level.index += 1
    path = f"{level.prefix}{key}" if level.whole is None else f"{level.prefix}{key}]"
    if len(path) > MAX_NAME:
        raise LimitExceeded(f"Expected names of at most {MAX_NAME} characters, found more")
    return path


def _read_key(packed: Packed) -> str:
    kind, number, start, nbytes = packed.expect(Kind.TEXT, Kind.BYTES, Kind.WHOLE)
    if kind is Kind.WHOLE:
        return str(number)
    if nbytes > 4 * MAX_NAME:
        raise LimitExceeded(f"Expected names of at most {MAX_NAME} characters, found more")
    try:
        return str(packed.read(start, nbytes), "utf-8")
    except UnicodeDecodeError as fault:
        raise CheckpointError(f"Expected a key in UTF-8 at byte {start}") from fault


def _expect_key(packed: Packed, key: str) -> None:
    found = _read_key(packed)
    if found != key:
        raise CheckpointError(f"Expected the key {key!r} in an array in pieces, found {found!r}")
