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
    compress_sorted,
    compress_text,
    decompress,
    decompress_each,
)

PLANE_BYTES = 2**20
"""Bytes of one plane of a full block."""

_FLOATS = frozenset({"F16", "BF16", "F32", "F64"})
_COMPRESSED = 1 << 31
_COMPRESS = {"U8": compress_text, **dict.fromkeys(("U16", "U32", "U64"), compress_sorted)}
"""Unsigned integers are mostly residuals, which are sorted."""
_WORTH = 0.99  # a plane that shrinks by less is kept raw: it is read faster


class Planes(Serializer):
    """Byte planes, each raw or a zstd frame; see docs/spec/pack-v1.md for the bytes."""

    name = "planes"

    def block_bytes(self, dtype: str) -> int:
        """One MiB a plane."""
        return PLANE_BYTES * scalar_bytes(dtype)

    def encode(self, block: bytes | memoryview, dtype: str) -> bytes:
        """Split a block into planes and compress those that shrink."""
        width = scalar_bytes(dtype)
        compress = _COMPRESS.get(dtype, compress_numbers)
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
    ) -> tuple[bytes, list[int]]:
        """Split all blocks into planes at once; only the highest is compressed."""
        width = scalar_bytes(dtype)
        count = len(data) // block
        if count < 2 or width == 1:
            return super().encode_blocks(data, block, dtype)
        whole = memoryview(data)[: count * block]
        planes, step = _split(whole, dtype, width), block // width
        frames = compress_each(planes[-1], step)
        lengths = np.array([len(frame) for frame in frames], "<u4")
        if lengths.max() >= step - 4 * width:  # some block would not shrink
            return super().encode_blocks(data, block, dtype)
        fixed = np.empty((count, 4 * width + (width - 1) * step), np.uint8)
        header = fixed[:, : 4 * width].view("<u4")
        header[:, :-1] = step
        header[:, -1] = lengths | _COMPRESSED
        for number, plane in enumerate(planes[:-1]):
            at = 4 * width + number * step
            fixed[:, at : at + step] = np.frombuffer(plane, np.uint8).reshape(count, step)
        rows = fixed.reshape(-1).data
        row = fixed.shape[1]
        parts: list[bytes | memoryview] = [b""] * (2 * count)
        parts[0::2] = [rows[at : at + row] for at in range(0, len(rows), row)]
        parts[1::2] = frames
        sizes: list[int] = (lengths + row).tolist()
        if len(data) > len(whole):
            rest, last = super().encode_blocks(memoryview(data)[len(whole) :], block, dtype)
            parts.append(rest)
            sizes += last
        return b"".join(parts), sizes

    def decode_blocks(
        self,
        data: bytes | memoryview,
        lengths: Sequence[int],
        block: int,
        nbytes: int,
        dtype: str,
    ) -> bytes | memoryview:
        """Join all planes at once where they are as :meth:`encode_blocks` left them."""
        width = scalar_bytes(dtype)
        count = min(nbytes // block, len(lengths))
        if count < 2 or width == 1 or block % width or sum(lengths) != len(data):
            return super().decode_blocks(data, lengths, block, nbytes, dtype)
        step, row = block // width, 4 * width + (width - 1) * (block // width)
        stored = np.frombuffer(data, np.uint8)
        sizes = np.array(lengths[:count])
        if sizes.min() <= row or sizes.max() >= block:
            return super().decode_blocks(data, lengths, block, nbytes, dtype)
        starts = np.cumsum(sizes) - sizes
        fixed = stored[starts[:, None] + np.arange(row)]
        header = fixed[:, : 4 * width].copy().view("<u4")
        if (header[:, :-1] != step).any() or (header[:, -1] != (sizes - row | _COMPRESSED)).any():
            return super().decode_blocks(data, lengths, block, nbytes, dtype)
        highest = decompress_each(data, (starts + row).tolist(), (sizes - row).tolist(), step)
        planes = [
            np.ascontiguousarray(fixed[:, at : at + step]).reshape(-1).data
            for at in range(4 * width, row, step)
        ]
        joined = _join([*planes, highest], dtype, width)
        if count == len(lengths):
            return joined
        at = int(starts[-1] + sizes[-1])
        rest = super().decode_blocks(
            memoryview(data)[at:], lengths[count:], block, nbytes - count * block, dtype
        )
        return b"".join((joined, rest))


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
