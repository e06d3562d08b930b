"""The value of a parameter group, read in the plainest way: what oracles are compared with."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import zstandard

from git_theta.checkpoint import Buffer, Layout, Tensor
from git_theta.dtypes import BITS, count_bytes, scalar_bytes
from git_theta.source import BytesSource, Source


class Value(NamedTuple):
    """A parameter group as an oracle tells it."""

    dtype: str
    """safetensors' name of the dtype."""
    shape: tuple[int, ...]
    """Elements by dimension."""
    data: bytes
    """The elements, contiguous, row-major, little-endian."""


def read_values(file: Source, layout: Layout) -> dict[str, Value]:
    """The values of all parameter groups, by name; all in memory, so for small samples only."""
    return {tensor.name: _read_value(file, layout, tensor) for tensor in layout.tensors}


def _read_value(file: Source, layout: Layout, tensor: Tensor) -> Value:
    buffer = layout.buffers[tensor.buffer]
    data = b"" if 0 in tensor.shape else _read_elements(_read_numbers(file, buffer), tensor)
    width = scalar_bytes(buffer.dtype)
    if buffer.big_endian and width > 1:
        data = np.frombuffer(data, f"u{width}").byteswap().tobytes()
    return Value(tensor.dtype, tuple(tensor.shape), data)


def _read_numbers(file: Source, buffer: Buffer) -> Source:
    """A buffer's numbers, decompressed where they are a frame."""
    found = file.window(buffer.start, buffer.nbytes)
    if not buffer.coding:
        return found
    frame = bytes(found.read(0, found.size))
    data = zstandard.ZstdDecompressor().decompressobj().decompress(frame)
    assert len(data) == buffer.decoded, f"Expected {buffer.decoded} bytes, a frame has {len(data)}"
    return BytesSource(data)


def _read_elements(buffer: Source, tensor: Tensor) -> bytes:
    bits = BITS[tensor.dtype]
    if tensor.strides is None:
        start = tensor.offset * bits // 8
        return bytes(buffer.read(start, count_bytes(tensor.dtype, tensor.shape)))
    width = bits // 8
    elements = np.frombuffer(buffer.read(0, buffer.size), f"V{width}")[tensor.offset :]
    steps = [step * width for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(elements, tensor.shape, steps).tobytes()
