"""What a format tells about a file: its parameter groups and where their bytes lie.

These are plain values. They are named tuples rather than frozen dataclasses because a checkpoint
may have 50,000 of them and a named tuple is built in half the time; so is its class, and git waits
for what the filter imports.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from git_theta.dtypes import BITS, count_bytes, scalar_bytes
from git_theta.errors import CheckpointError

MAX_EXPANDED = 64 * 2**20
"""Bytes that strided groups may have beyond sixteen times the file's: a stride may be zero."""
CODINGS = ("", "zstd")
"""What may lie between a buffer's numbers and the file's bytes."""
MAX_RANK = 64
"""Most dimensions of a parameter group."""


class Buffer(NamedTuple):
    """A run of one dtype's bytes in a file: the unit of identity and storing."""

    dtype: str
    """safetensors' name of the dtype."""
    start: int
    """Offset of the first byte in the file."""
    nbytes: int
    """Length in the file in bytes; where no coding is, a multiple of the dtype's size."""
    big_endian: bool = False
    """Whether the file has the numbers big-endian; a buffer's identity is little-endian always."""
    coding: str = ""
    """How the file has the numbers: "" as they are, "zstd" as one frame of zstd."""
    decoded: int = 0
    """Bytes of the numbers where there is a coding, as the format knows them; else 0."""

    @property
    def size(self) -> int:
        """Bytes of the numbers."""
        return self.decoded if self.coding else self.nbytes


class Tensor(NamedTuple):
    """A parameter group: one named tensor, a view of a buffer."""

    name: str
    """Name of the group, unique in its checkpoint."""
    dtype: str
    """safetensors' name of the dtype; of the same size as the buffer's."""
    shape: tuple[int, ...]
    """Elements by dimension; ``()`` for a scalar."""
    buffer: int
    """Index of the buffer in :attr:`Layout.buffers`."""
    offset: int = 0
    """First element, counted in elements from the buffer's start."""
    strides: tuple[int, ...] | None = None
    """Elements to step by dimension, never negative; None: contiguous, the last one fastest."""


class Layout(NamedTuple):
    """The parameter groups of a file and where their buffers lie in it.

    All bytes that belong to no buffer are the skeleton; the kernel keeps them as they are.
    """

    buffers: tuple[Buffer, ...] = ()
    """In file order, without overlaps."""
    tensors: tuple[Tensor, ...] = ()
    """In any order."""
    nested: tuple[str, ...] = ()
    """Names of the formats that were asked about parts of the file (a zip that holds an .npy)."""


def check_layout(layout: Layout, size: int) -> None:
    """Check a layout against the size of its file in bytes; formats cannot be trusted to.

    Raises
    ------
    CheckpointError
        When buffers overlap or leave the file, or a group is not inside its buffer.
    """
    end = 0
    for number, buffer in enumerate(layout.buffers):
        dtype, start, nbytes, _, coding, decoded = buffer
        if start < end or nbytes < 0 or start + nbytes > size:
            raise CheckpointError(
                f"Buffer {number} lies at bytes {start} to {start + nbytes}, expected it between "
                f"{end} (where the one before ends) and {size} (where the file ends)"
            )
        if coding or decoded:
            _check_coding(number, buffer)
            nbytes = decoded
        if dtype not in BITS or nbytes * 8 % BITS[dtype]:
            raise CheckpointError(f"Buffer {number} has {nbytes} bytes, which no {dtype} fills")
        end = start + buffer[2]
    _check_names([tensor.name for tensor in layout.tensors])
    kinds = {}  # most groups of a checkpoint are of a few kinds
    for tensor in layout.tensors:
        name, dtype, shape, number, offset, strides = tensor
        if not 0 <= number < len(layout.buffers):
            raise CheckpointError(f"Group {name!r} names buffer {number} of {len(layout.buffers)}")
        of, _, nbytes, big_endian, _, decoded = layout.buffers[number]
        kinds[dtype, shape, offset, strides, of, decoded or nbytes, big_endian] = tensor
    for tensor in kinds.values():
        check_tensor(tensor, layout.buffers[tensor.buffer])
    expanded = sum(
        [
            count_bytes(tensor.dtype, tensor.shape)
            for tensor in layout.tensors
            if tensor.strides and not layout.buffers[tensor.buffer].coding  # seen when it is opened
        ]
    )
    if expanded > 16 * size + MAX_EXPANDED:
        raise CheckpointError(
            f"Its strided groups have {expanded} bytes, far more than the {size} of the file"
        )


def _check_coding(number: int, buffer: Buffer) -> None:
    if buffer.coding not in CODINGS:
        raise CheckpointError(f"Buffer {number} has the coding {buffer.coding!r}, which is unknown")
    if not (0 < buffer.decoded < 2**63 if buffer.coding else buffer.decoded == 0):
        raise CheckpointError(f"Buffer {number} has {buffer.decoded} bytes of numbers in a coding")


def _check_names(names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        name = Counter(names).most_common(1)[0][0]
        raise CheckpointError(f"Two parameter groups are named {name!r}")
    for name in names:
        if not name.isascii() and name != _join_surrogates(name):
            raise CheckpointError(f"Group {name!r} has one character as two surrogates in its name")


def check_tensor(tensor: Tensor, buffer: Buffer) -> None:
    """Check that a group lies inside its buffer; errors as in :func:`check_layout`."""
    name, dtype, shape, _, offset, strides = tensor
    if dtype != buffer.dtype and not _may_view(tensor, buffer):
        raise CheckpointError(f"Group {name!r} is {dtype}, its buffer is {buffer.dtype}")
    try:
        end = _end_of(dtype, shape, offset, strides)
    except ValueError as fault:
        raise CheckpointError(f"Group {name!r}: {fault}") from fault
    if end > buffer.size:
        raise CheckpointError(
            f"Group {name!r} ends at byte {end} of a buffer that has {buffer.size}"
        )


def _may_view(tensor: Tensor, buffer: Buffer) -> bool:
    """Whether a group may be of another dtype than its buffer."""
    dtype = tensor.dtype
    if dtype not in BITS or (
        buffer.big_endian and scalar_bytes(dtype) != scalar_bytes(buffer.dtype)
    ):
        return False
    same = BITS[dtype] == BITS[buffer.dtype]
    return same or not (tensor.strides or tensor.offset or BITS[dtype] < 8)


@lru_cache(2**12)  # most groups of a checkpoint have one of few shapes
def _end_of(
    dtype: str, shape: tuple[int, ...], offset: int, strides: tuple[int, ...] | None
) -> int:
    """The byte of its buffer at which a view ends; ValueError when it is none."""
    if len(shape) > MAX_RANK:
        raise ValueError(f"{len(shape)} dimensions, expected at most {MAX_RANK}")
    if max(offset, *shape, *(strides or ()), 0) >= 2**63:
        raise ValueError("a number of more than 63 bits")
    if any(n < 0 for n in shape) or offset < 0 or offset * BITS[dtype] % 8:
        raise ValueError(f"shape {list(shape)} at offset {offset}")
    if strides is None:
        return offset * BITS[dtype] // 8 + count_bytes(dtype, shape)
    if len(strides) != len(shape) or any(s < 0 for s in strides) or BITS[dtype] < 8:
        raise ValueError(f"shape {list(shape)}, strides {list(strides)}")
    last = sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    return 0 if 0 in shape else (offset + last + 1) * BITS[dtype] // 8


def _join_surrogates(name: str) -> str:
    """``name`` as metadata gives it back: lone surrogates stay, pairs become one character."""
    return name.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
