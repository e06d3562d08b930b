"""The value of a parameter group, read in the plainest way: what oracles are compared with."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from git_theta.checkpoint import Layout, Tensor
from git_theta.dtypes import BITS, count_bytes, scalar_bytes
from git_theta.source import Source


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
    data = b"" if 0 in tensor.shape else _read_elements(file.window(*buffer[1:3]), tensor)
    width = scalar_bytes(buffer.dtype)
    if buffer.big_endian and width > 1:
        data = np.frombuffer(data, f"u{width}").byteswap().tobytes()
    return Value(tensor.dtype, tuple(tensor.shape), data)


def _read_elements(buffer: Source, tensor: Tensor) -> bytes:
    bits = BITS[tensor.dtype]
    if tensor.strides is None:
        start = tensor.offset * bits // 8
        return bytes(buffer.read(start, count_bytes(tensor.dtype, tensor.shape)))
    width = bits // 8
    elements = np.frombuffer(buffer.read(0, buffer.size), f"V{width}")[tensor.offset :]
    steps = [step * width for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(elements, tensor.shape, steps).tobytes()
