"""Reads the arrays of a template that are kept, with numpy.

tensorstore would read them as well, and ends the process when metadata claims absurd sizes.
"""

from __future__ import annotations

import json
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from git_theta.errors import CheckpointError
from git_theta.source import Source
from theta_flax.dtypes import DTYPES
from theta_flax.frames import unpack
from theta_flax.orbax.stored import Stored, list_chunks
from theta_flax.zarr.chunks import Chunk, find_chunks
from theta_flax.zarr.metadata import NO_DTYPE, REMEDY, ZarrArray, tell_packed

if TYPE_CHECKING:
    import numpy as np

_SMALL = ("int2", "int4", "uint2", "uint4", "float4_e2m1fn")
"""dtypes of ml_dtypes of less than a byte; zarr and numpy give each number a whole one."""


class Described(NamedTuple):
    """An array as its metadata describes it."""

    name: str
    said: ZarrArray
    text: bytes
    """The metadata."""


def read_kept(array: Described, stored: Stored) -> np.ndarray[Any, Any]:
    """An array, in memory; ml_dtypes must be imported.

    Raises
    ------
    CheckpointError
        When its numbers are packed, or there are fewer than its metadata claims.
    """
    import numpy as np

    name, said, _ = array
    dtype = np.dtype(_name_dtype(array))
    chunks, nbytes = _find_all(array, stored)
    whole, least = prod(said.shape), sum(chunk.nbytes for chunk, _ in chunks)
    if len(chunks) * prod(said.chunk) < whole or nbytes < least:
        raise CheckpointError(
            f"Expected all numbers of {name!r} in the template, found some",
            remedy="Load it and save it again with Orbax",
        )
    pieces = [_read_chunk(chunk, file) for chunk, file in chunks]
    values: np.ndarray[Any, Any] = np.empty(said.shape, dtype)
    for (chunk, _), piece in zip(chunks, pieces, strict=True):
        data = np.frombuffer(piece, dtype).reshape(said.chunk)
        starts = [n * extent for n, extent in zip(chunk.where, said.chunk, strict=True)]
        inside: list[Any] = [slice(at, at + n) for at, n in zip(starts, said.chunk, strict=True)]
        place = values[(*inside, ...)]  # a view, of a scalar too
        place[...] = data[tuple(slice(extent) for extent in place.shape)]
    return values


def _read_chunk(chunk: Chunk, file: Source) -> bytes | memoryview:
    """A chunk's numbers."""
    data, nbytes = file.read(chunk.start, chunk.nbytes), chunk.said.nbytes
    if chunk.said.coding:
        data = unpack(data, nbytes, f"a chunk of {chunk.array!r}")
        if len(data) < nbytes:
            raise CheckpointError(f"Expected {nbytes} bytes in a chunk of {chunk.array!r}")
    return data


def _name_dtype(array: Described) -> str:
    name, said, text = array
    if said.packed == NO_DTYPE:
        found = json.loads(text)
        dtype = found.get("dtype", found.get("data_type"))
        if dtype in _SMALL:
            return str(dtype)
        raise CheckpointError(f"Expected numbers of a dtype of jax's in {name!r}, found {dtype!r}")
    if said.packed or said.big_endian:
        raise CheckpointError(tell_packed(name, said), remedy=REMEDY)
    return next(theirs for theirs, ours in DTYPES.items() if ours == said.dtype)


def _find_all(array: Described, stored: Stored) -> tuple[list[tuple[Chunk, Source]], int]:
    """The chunks with the files in which they lie, and how many bytes these have."""
    chunks, nbytes = [], 0
    for where, key in list_chunks(array.name, array.said):
        file = stored.read(key)
        if file is None:
            break  # it cannot be read without
        nbytes += file.size
        found = find_chunks(array.name, array.said, where, file, 0, file.size)
        chunks += [(chunk, file) for chunk in found]
    return chunks, nbytes
