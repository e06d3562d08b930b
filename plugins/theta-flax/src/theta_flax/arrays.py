"""The extensions in which flax puts arrays into msgpack: a shape, a dtype, the numbers."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from git_theta.checkpoint import MAX_RANK
from git_theta.dtypes import count_bytes
from git_theta.errors import CheckpointError, LimitExceeded
from theta_flax.dtypes import DTYPES
from theta_flax.packed import Item, Kind, Packed

ARRAY, SCALAR = 1, 3
"""Codes of the extensions: arrays, and numpy's scalars, which are arrays of no dimension."""

_MAX_DTYPE = 64  # bytes of a dtype's name


class Array(NamedTuple):
    """An array, whose numbers lie row-major in the file."""

    dtype: str | None
    """safetensors' name of the dtype; None where it has none."""
    shape: tuple[int, ...]
    """Elements by dimension."""
    start: int
    """Offset of the first number in the file."""
    nbytes: int
    """Bytes of all numbers."""


def read_array(packed: Packed, extension: Item) -> Array:
    """Read what an extension says of its array; the next item is then what it was before.

    Raises
    ------
    CheckpointError
        When it is no array, or has another number of bytes than its shape asks for.
    """
    after = packed.pos
    packed.pos = extension.start
    if packed.expect(Kind.LIST).number != 3:
        raise CheckpointError("Expected an array's shape, dtype and numbers")
    shape = read_shape(packed)
    dtype = _read_dtype(packed)
    _, _, start, nbytes = packed.expect(Kind.BYTES, Kind.TEXT)
    if packed.pos != after:
        raise CheckpointError(f"Expected an array to end at byte {after}, found {packed.pos}")
    packed.pos = after
    if dtype and count_bytes(dtype, shape) != nbytes:
        raise CheckpointError(
            f"Expected {count_bytes(dtype, shape)} bytes of {dtype} of shape {list(shape)}, "
            f"found {nbytes}"
        )
    return Array(dtype, shape, start, nbytes)


def read_shape(packed: Packed) -> tuple[int, ...]:
    """Read a list of extents; errors as in :func:`read_array`."""
    rank = packed.expect(Kind.LIST).number
    if rank > MAX_RANK:
        raise LimitExceeded(f"Expected at most {MAX_RANK} dimensions, found {rank}")
    return tuple([read_extent(packed) for _ in range(rank)])


def read_extent(packed: Packed) -> int:
    """Read one extent; errors as in :func:`read_array`."""
    extent = packed.expect(Kind.WHOLE).number
    if not 0 <= extent < 2**63:
        raise CheckpointError(f"Expected an extent of at most 63 bits, found {extent}")
    return extent


def _read_dtype(packed: Packed) -> str | None:
    _, _, start, nbytes = packed.expect(Kind.TEXT, Kind.BYTES)
    if nbytes > _MAX_DTYPE:
        raise CheckpointError(f"Expected the name of a dtype, found {nbytes} bytes")
    return DTYPES.get(str(packed.read(start, nbytes), "latin-1"))


def shape_piece(shape: tuple[int, ...], count: int) -> tuple[int, ...]:
    """The shape of ``count`` elements in a row of an array of some shape: whole rows, or flat."""
    row = prod(shape[1:])
    if len(shape) > 1 and row and count % row == 0:
        return (count // row, *shape[1:])
    return (count,)
