"""Byte planes + zstd: numbers split by significance, each plane entropy-coded by itself.

The exponents of a model's weights take few values, their mantissas are mostly noise. So the sign
bit is rotated to the low end (which leaves the exponent in a byte of its own), elements are split
into byte planes, and zstd serves as a Huffman coder: match search hurts on exponents. Method and
figures: ZipNN (arXiv:2411.05239); parameters by our own measurement (docs/spec/pack-v1.md).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from git_theta.dtypes import SCALAR, scalar_bytes
from git_theta.errors import PackError
from git_theta.serializers.interface import Serializer
from git_theta.zstd_frame import (
    compress_each,
    compress_numbers,
    compress_text,
    decompress,
)

PLANE_BYTES = 2**20
"""Bytes of one plane of a full block."""

_FLOATS = frozenset({"F16", "BF16", "F32", "F64"})
_COMPRESSED = 1 << 31
_WORTH = 0.99  # a plane that shrinks by less is kept raw: it is read faster
_WORTH_BLOCKS = 0.95  # short frames cost more than long ones do


class Planes(Serializer):
    """Byte planes, each raw or a zstd frame; see docs/spec/pack-v1.md for the bytes."""

    name = "planes"

    def block_bytes(self, dtype: str) -> int:
        """One MiB a plane."""
        return PLANE_BYTES * scalar_bytes(dtype)

    def encode(self, block: bytes | memoryview, dtype: str) -> bytes:
        """Split a block into planes and compress those that shrink."""
        width = scalar_bytes(dtype)
        compress = compress_text if dtype == "U8" else compress_numbers
        header, planes = [], []
        for plane in _split(block, dtype, width):
            packed = compress(plane)
            small = len(packed) < _WORTH * len(plane)
            planes.append(packed if small else plane)
            header.append(len(planes[-1]) | (_COMPRESSED if small else 0))
        return b"".join((struct.pack(f"<{width}I", *header), *planes))

    def decode(self, data: bytes | memoryview, dtype: str, nbytes: int) -> bytes | memoryview:
        """Undo :meth:`encode`; errors as the interface says."""
        width = scalar_bytes(dtype)
        if nbytes % width:
            raise PackError(f"Expected whole numbers of {dtype}, found {nbytes} bytes of them")
        return _join(_planes(memoryview(data), nbytes // width, width, dtype), dtype, width)

    def encode_blocks(
        self, data: bytes | memoryview, block: int, dtype: str
    ) -> list[bytes | memoryview]:
        """Split all blocks into planes at once; only planes that shrink as a whole are tried."""
        width = scalar_bytes(dtype)
        if len(data) <= block or width == 1:
            return super().encode_blocks(data, block, dtype)
        step = block // width
        columns = []
        for plane in _split(data, dtype, width):
            packed: Sequence[bytes | memoryview] | None = None
            if len(compress_numbers(plane)) < _WORTH_BLOCKS * len(plane):
                packed = compress_each(plane, step)
            columns.append((plane, packed))
        pack_header = struct.Struct(f"<{width}I").pack
        blocks: list[bytes | memoryview] = []
        for number in range(-(-len(data) // block)):
            header, planes = [], []
            for plane, frames in columns:
                raw = plane[number * step : (number + 1) * step]
                if frames is not None and len(frames[number]) < len(raw):
                    planes.append(frames[number])
                    header.append(len(frames[number]) | _COMPRESSED)
                else:
                    planes.append(raw)
                    header.append(len(raw))
            blocks.append(b"".join((pack_header(*header), *planes)))
        return blocks

    def decode_blocks(
        self, blocks: Sequence[bytes | memoryview], block: int, nbytes: int, dtype: str
    ) -> bytes | memoryview:
        """Collect the planes of all blocks, then join them at once."""
        width = scalar_bytes(dtype)
        if len(blocks) < 2 or width == 1 or nbytes % width:
            return super().decode_blocks(blocks, block, nbytes, dtype)
        columns: list[list[bytes | memoryview]] = [[] for _ in range(width)]
        for number, data in enumerate(blocks):
            size = min(block, nbytes - number * block)
            if len(data) == size:
                planes = _split(data, dtype, width)
            else:
                planes = _planes(memoryview(data), size // width, width, dtype)
            for column, plane in zip(columns, planes, strict=True):
                column.append(plane)
        return _join([b"".join(column) for column in columns], dtype, width)


def _planes(view: memoryview, nbytes: int, width: int, dtype: str) -> list[bytes | memoryview]:
    """The planes of one block, each ``nbytes`` long."""
    if len(view) < 4 * width:
        raise PackError(f"Expected {width} planes of a {dtype} block, found {len(view)} bytes")
    at, planes = 4 * width, []
    for entry in struct.unpack_from(f"<{width}I", view):
        end = at + (entry & ~_COMPRESSED)
        planes.append(_plane(view[at:end], bool(entry & _COMPRESSED), nbytes))
        at = end
    if at != len(view):
        raise PackError(f"Expected a block of {at} bytes, found {len(view)}")
    return planes


def _split(block: bytes | memoryview, dtype: str, width: int) -> list[Any]:
    if width == 1:
        return [block]
    words = np.frombuffer(block, f"<u{width}")
    if SCALAR.get(dtype, dtype) in _FLOATS:
        words = (words << 1) | (words >> (8 * width - 1))
    columns = words.view(np.uint8).reshape(-1, width)
    return [np.ascontiguousarray(columns[:, k]).data for k in range(width)]


def _join(planes: list[Any], dtype: str, width: int) -> bytes | memoryview:
    if width == 1:
        plane: bytes | memoryview = planes[0]
        return plane
    columns = np.stack([np.frombuffer(plane, np.uint8) for plane in planes], axis=-1)
    words = columns.reshape(-1).view(f"<u{width}")
    if SCALAR.get(dtype, dtype) in _FLOATS:
        words = (words >> 1) | (words << (8 * width - 1))
    return words.data.cast("B") if words.size else b""


def _plane(data: memoryview, compressed: bool, nbytes: int) -> bytes | memoryview:
    if not compressed:
        if len(data) != nbytes:
            raise PackError(f"Expected a raw plane of {nbytes} bytes, found {len(data)}")
        return data
    return decompress(data, nbytes)
