"""What a format tells about a file: its parameter groups and where their bytes lie.

These are plain values. Tensors and buffers are named tuples rather than frozen dataclasses because
a checkpoint may have 50,000 of them and a named tuple is built in half the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from git_theta.dtypes import BITS, count_bytes, scalar_bytes
from git_theta.errors import CheckpointError


MAX_RANK = 64
"""Most dimensions of a parameter group."""


class Buffer(NamedTuple):
    """A run of one dtype's bytes in a file: the unit of identity and storing."""

    dtype: str
    """safetensors' name of the dtype."""
    start: int
    """Offset of the first byte in the file."""
    nbytes: int
    """Length in bytes, a multiple of the dtype's size."""
    big_endian: bool = False
    """Whether the file has the numbers big-endian; a buffer's identity is little-endian always."""


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


@dataclass(frozen=True, slots=True)
class Layout:
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
        dtype, start, nbytes, _ = buffer
        if start < end or nbytes < 0 or start + nbytes > size:
            raise CheckpointError(
                f"Buffer {number} lies at bytes {start} to {start + nbytes}, expected it between "
                f"{end} (where the one before ends) and {size} (where the file ends)"
            )
        if dtype not in BITS or nbytes * 8 % BITS[dtype]:
            raise CheckpointError(f"Buffer {number} has {nbytes} bytes, which no {dtype} fills")
        end = start + nbytes
    names = set()
    for tensor in layout.tensors:
        if tensor.name in names:
            raise CheckpointError(f"Two parameter groups are named {tensor.name!r}")
        names.add(tensor.name)
        _check_tensor(tensor, layout)


def _check_tensor(tensor: Tensor, layout: Layout) -> None:
    name, dtype, shape, index, offset, strides = tensor
    if not 0 <= index < len(layout.buffers):
        raise CheckpointError(f"Group {name!r} names buffer {index} of {len(layout.buffers)}")
    buffer = layout.buffers[index]
    if (
        dtype not in BITS
        or (BITS[dtype] != BITS[buffer.dtype] and (strides or offset or BITS[dtype] < 8))
        or (buffer.big_endian and scalar_bytes(dtype) != scalar_bytes(buffer.dtype))
    ):
        raise CheckpointError(f"Group {name!r} is {dtype}, its buffer is {buffer.dtype}")
    if len(shape) > MAX_RANK:
        raise CheckpointError(
            f"Group {name!r} has {len(shape)} dimensions, expected at most {MAX_RANK}"
        )
    if not name.isascii() and name != _join_surrogates(name):
        raise CheckpointError(f"Group {name!r} has one character as two surrogates in its name")
    if any(n < 0 for n in shape) or offset < 0 or offset * BITS[dtype] % 8:
        raise CheckpointError(f"Group {name!r} has shape {list(shape)} at offset {offset}")
    if strides is None:
        try:
            end = offset * BITS[dtype] // 8 + count_bytes(dtype, shape)
        except ValueError as fault:
            raise CheckpointError(f"Group {name!r}: {fault}") from fault
    elif len(strides) != len(shape) or any(s < 0 for s in strides) or BITS[dtype] < 8:
        raise CheckpointError(f"Group {name!r} has shape {list(shape)}, strides {list(strides)}")
    else:
        last = sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        end = 0 if 0 in shape else (offset + last + 1) * BITS[dtype] // 8
    if end > buffer.nbytes:
        raise CheckpointError(
            f"Group {name!r} ends at byte {end} of a buffer that has {buffer.nbytes}"
        )


def _join_surrogates(name: str) -> str:
    """``name`` as metadata gives it back: lone surrogates stay, pairs become one character."""
    return name.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
