"""Where the numbers of an array's part lie in a file, and what groups they make up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, product
from math import prod
from operator import mul
from struct import Struct
from typing import NamedTuple

from git_theta.checkpoint import Buffer, Layout, Tensor
from git_theta.errors import CheckpointError, LimitExceeded
from git_theta.source import Source
from theta_flax.checksums import check_crc
from theta_flax.names import Namer
from theta_flax.zarr.metadata import Index, ZarrArray

MAX_CHUNKS = 2**19
"""Chunks of one file."""

_ENTRY = Struct("<QQ")  # offset and length of a chunk in its shard
_MISSING = 2**64 - 1
_CHECKSUM = 4  # bytes of a CRC-32C


class Chunk(NamedTuple):
    """A chunk that lies in a file, raw or as a frame."""

    array: str
    """Name of the array."""
    said: ZarrArray
    """What its metadata says."""
    where: tuple[int, ...]
    """Which chunk of the array it is, by dimension."""
    start: int
    """Offset of its first byte in the file."""
    nbytes: int
    """Its length there."""


def find_chunks(
    array: str, said: ZarrArray, where: Sequence[int], file: Source, start: int, nbytes: int
) -> Iterator[Chunk]:
    """The chunks of one stored part of an array that is not packed.

    Parameters
    ----------
    array, said
        The array's name, and its metadata.
    where
        Which part it is, by dimension.
    file
        The file in which the part lies.
    start, nbytes
        Where.

    Raises
    ------
    CheckpointError
        When the part has another length than its metadata asks for.
    """
    if said.index is None:
        _check_length(array, said, nbytes)
        yield Chunk(array, said, tuple(where), start, nbytes)
        return
    counts = [whole // part for whole, part in zip(said.stored, said.chunk, strict=True)]
    entries, first = _read_table(array, said.index, prod(counts), file.window(start, nbytes))
    for inner, (offset, length) in zip(product(*map(range, counts)), entries, strict=True):
        if offset == length == _MISSING:
            continue
        _check_length(array, said, length)
        if not first <= offset <= nbytes - length:
            raise CheckpointError(f"Expected a chunk of {array!r} in its shard, found it outside")
        place = [n * count + i for n, count, i in zip(where, counts, inner, strict=True)]
        yield Chunk(array, said, tuple(place), start + offset, length)


def lay_out(chunks: Sequence[Chunk]) -> Layout:
    """A layout of a file's chunks: a group each."""
    ordered = sorted(chunks, key=lambda chunk: chunk.start)
    namer, tensors = Namer(), []
    for number, (array, said, where, *_) in enumerate(ordered):
        shape = _crop(said, where)
        if shape is not None:
            name = namer.name(_name(array, said, where))
            strides = _strides(said.chunk, shape)
            tensors.append(Tensor(name, said.dtype, shape, number, 0, strides))
    buffers = [_buffer(chunk) for chunk in ordered]
    return Layout(tuple(buffers), tuple(tensors))


def _buffer(chunk: Chunk) -> Buffer:
    said = chunk.said
    decoded = said.nbytes if said.coding else 0
    return Buffer(said.dtype, chunk.start, chunk.nbytes, said.big_endian, said.coding, decoded)


def _check_length(array: str, said: ZarrArray, found: int) -> None:
    if found != said.nbytes and not said.coding:
        raise CheckpointError(
            f"Expected chunks of {array!r} of {said.nbytes} bytes, found one of {found}"
        )


def _read_table(
    array: str, index: Index, count: int, shard: Source
) -> tuple[Iterable[tuple[int, int]], int]:
    """Offset and length of each chunk of a shard, and where the first chunk may begin."""
    if count > MAX_CHUNKS:
        raise LimitExceeded(f"Expected at most {MAX_CHUNKS} chunks in a shard, found {count}")
    table = count * _ENTRY.size
    length = table + _CHECKSUM * index.checksum
    if length > shard.size:
        raise CheckpointError(f"Expected a shard of {array!r} to have a table of {length} bytes")
    data = bytes(shard.read(shard.size - length if index.at_end else 0, length))
    if index.checksum:
        check_crc(data[:table], data[table:], f"the table of a shard of {array!r}")
    return _ENTRY.iter_unpack(data[:table]), 0 if index.at_end else length


def _crop(said: ZarrArray, where: Sequence[int]) -> tuple[int, ...] | None:
    """The part of a chunk that is inside the array; None: nothing is."""
    starts = map(mul, where, said.chunk)
    inside = [
        min(extent - start, chunk)
        for extent, start, chunk in zip(said.shape, starts, said.chunk, strict=True)
    ]
    return tuple(inside) if all(extent > 0 for extent in inside) else None


def _strides(chunk: Sequence[int], shape: Sequence[int]) -> tuple[int, ...] | None:
    if tuple(chunk[1:]) == tuple(shape[1:]):  # all of it, or its first rows
        return None
    return tuple(accumulate(reversed(chunk[1:]), mul, initial=1))[::-1]


def _name(array: str, said: ZarrArray, where: Sequence[int]) -> str:
    """The array's name, with the chunk's place where there are several."""
    if tuple(said.shape) == tuple(map(min, said.shape, said.chunk)):
        return array
    return f"{array}[{','.join(map(str, where))}]"
