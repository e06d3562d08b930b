"""What an index says of each tensor; see TensorFlow's tensor_bundle.proto and types.proto."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from git_theta.checkpoint import MAX_RANK
from git_theta.errors import CheckpointError
from git_theta.source import Source
from theta_tensorflow.bundle.protobuf import FIXED32, Field, Messages
from theta_tensorflow.bundle.slices import is_slice, slice_name
from theta_tensorflow.bundle.sstable import Entry, SSTable, read_table

DTYPES = {
    1: "F32",
    2: "F64",
    3: "I32",
    4: "U8",
    5: "I16",
    6: "I8",
    8: "C64",
    9: "I64",
    10: "BOOL",
    11: "I8",  # quantized ones are told by their numbers; scale and zero lie elsewhere
    12: "U8",
    13: "I32",
    14: "BF16",
    15: "I16",
    16: "U16",
    17: "U16",
    18: "C128",
    19: "F16",
    22: "U32",
    23: "U64",
    24: "F8_E5M2",
    25: "F8_E4M3",
    26: "F8_E4M3FNUZ",
    28: "F8_E5M2FNUZ",
}
"""safetensors' names by TensorFlow's numbers; what is not here stays in the skeleton."""

MAX_FIELDS = 2**21
"""Fields of all entries, of which a tensor of rank 4 has 14."""

_DTYPE, _SHAPE, _SHARD, _OFFSET, _SIZE, _CRC, _SLICES = range(1, 8)
_SHARDS, _ENDIANNESS = 1, 2


class BundleTensor(NamedTuple):
    """A tensor, or a slice of one, whose bytes lie in a data file."""

    name: str
    dtype: int
    """TensorFlow's number."""
    shape: tuple[int, ...]
    shard: int
    """Number of the data file."""
    start: int
    nbytes: int
    crc: int
    """Offset in the index of its CRC's four bytes; 0 where the CRC is left out, being zero."""


@dataclass(frozen=True, slots=True)
class Index:
    """An index file, read."""

    table: SSTable
    shards: int
    """How many data files there are."""
    big_endian: bool
    tensors: tuple[BundleTensor, ...]


def read_index(file: Source) -> Index:
    """Read an index file.

    Raises
    ------
    CheckpointError
        When it is malformed.
    """
    table = read_table(file)
    if not table.entries or table.entries[0].key:
        raise CheckpointError("Expected a header as the first entry of the index")
    messages = Messages(table.data, MAX_FIELDS)
    first = table.entries[0]
    head = {field.number: field.value for field in messages.fields(first.start, first.end)}
    shards, endianness = head.get(_SHARDS, 0), head.get(_ENDIANNESS, 0)
    if not 0 < shards <= 99999 or endianness not in (0, 1):
        raise CheckpointError(f"Expected 1 to 99999 data files, found a header that says {shards}")
    tensors = tuple(found for entry in table.entries[1:] for found in _read_entry(messages, entry))
    return Index(table, shards, endianness == 1, tensors)


def _read_entry(messages: Messages, entry: Entry) -> Iterator[BundleTensor]:
    numbers: dict[int, int] = {}
    shape: tuple[int, ...] = ()
    crc = 0
    for field in messages.fields(entry.start, entry.end):
        if field.number == _SLICES:  # its bytes are told under the keys of its slices
            return
        if field.number == _SHAPE:
            shape = _read_shape(messages, field)
        elif field.number == _CRC and field.kind == FIXED32:
            crc = field.start
        else:
            numbers[field.number] = field.value
    key = entry.key
    yield BundleTensor(
        slice_name(key) if is_slice(key) else key.decode("utf-8", "surrogateescape"),
        numbers.get(_DTYPE, 0),
        shape,
        numbers.get(_SHARD, 0),
        numbers.get(_OFFSET, 0),
        numbers.get(_SIZE, 0),
        crc,
    )


def _read_shape(messages: Messages, field: Field) -> tuple[int, ...]:
    shape: list[int] = []
    for dimension in messages.fields(field.start, field.end):
        if dimension.number == 2:
            sizes = messages.fields(dimension.start, dimension.end)
            shape.append(next((size.value for size in sizes if size.number == 1), 0))
            if len(shape) > MAX_RANK:
                raise CheckpointError(f"A tensor of more than {MAX_RANK} dimensions")
    return tuple(shape)
