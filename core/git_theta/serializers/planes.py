"""Byte planes + zstd: numbers split by significance, each plane entropy-coded by itself.

The exponents of a model's weights take few values, their mantissas are mostly noise. So the sign
bit is rotated to the low end (which leaves the exponent in a byte of its own), elements are split
into byte planes, and zstd serves as a Huffman coder: match search hurts on exponents. Method and
figures: ZipNN (arXiv:2411.05239); parameters by our own measurement (docs/spec/pack-v1.md).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from git_theta.compiled import kernels
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
        self, data: bytes | memoryview, sizes: Sequence[int], dtype: str
    ) -> tuple[bytes, list[int]]:
        """Split all blocks into planes at once; only the highest is compressed."""
        width = scalar_bytes(dtype)
        if width == 1:
            return super().encode_blocks(data, sizes, dtype)
        view, (*lower, highest) = memoryview(data), _split(data, dtype, width)
        steps = [size // width for size in sizes]
        parts: list[bytes | memoryview] = []
        lengths, at = [], 0
        for step, frame in zip(steps, compress_each(highest, steps), strict=True):
            if len(frame) + 4 * width >= step:  # it would not shrink
                parts.append(view[at * width : (at + step) * width])
                lengths.append(step * width)
            else:
                parts.append(_header(width, step, len(frame)))
                parts += [plane[at : at + step] for plane in lower]
                parts.append(frame)
                lengths.append((width - 1) * step + 4 * width + len(frame))
            at += step
        return b"".join(parts), lengths

    def decode_blocks(
        self,
        data: bytes | memoryview,
        lengths: Sequence[int],
        sizes: Sequence[int],
        dtype: str,
    ) -> bytes | memoryview:
        """Join all planes at once where they are as :meth:`encode_blocks` left them."""
        view, width, at = memoryview(data), scalar_bytes(dtype), 0
        lower: list[list[memoryview]] = [[] for _ in range(width - 1)]
        frames = []
        for length, size in zip(lengths, sizes, strict=True):
            step, start = size // width, at + 4 * width
            frame = at + length - start - (width - 1) * step
            if width == 1 or frame <= 0 or view[at:start] != _header(width, step, frame):
                return super().decode_blocks(data, lengths, sizes, dtype)
            for plane in lower:
                plane.append(view[start : start + step])
                start += step
            frames.append((start, frame, step))
            at += length
        highest = decompress_each(data, frames)
        return _join([*map(b"".join, lower), highest], dtype, width)


@lru_cache(2**10)  # most blocks of a bundle are alike
def _header(width: int, step: int, frame: int) -> bytes:
    """What opens a block of which the highest plane alone is compressed."""
    return struct.pack(f"<{width}I", *[step] * (width - 1), frame | _COMPRESSED)


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
    words, rotate = np.frombuffer(block, f"<u{width}"), SCALAR.get(dtype, dtype) in _FLOATS
    if kernels:
        return [plane.data for plane in kernels.split(words, rotate)]
    if rotate:
        words = (words << 1) | (words >> (8 * width - 1))
    return [(words >> 8 * k if k else words).astype(np.uint8).data for k in range(width)]


def _join(planes: list[Any], dtype: str, width: int) -> bytes | memoryview:
    if width == 1:
        plane: bytes | memoryview = planes[0]
        return plane
    halves: list[NDArray[Any]] = [np.frombuffer(plane, np.uint8) for plane in planes]
    rotate = SCALAR.get(dtype, dtype) in _FLOATS
    if kernels:
        return _bytes_of(kernels.join(halves, rotate))
    while len(halves) > 1:  # twice as fast as to lay single bytes beside each other
        halves = [_wider(*pair) for pair in zip(halves[::2], halves[1::2], strict=True)]
    words = halves[0]
    if rotate:
        words = (words >> 1) | (words << (8 * width - 1))
    return _bytes_of(words)


def _bytes_of(words: NDArray[Any]) -> bytes | memoryview:
    return words.data.cast("B") if words.size else b""


def _wider(low: NDArray[Any], high: NDArray[Any]) -> NDArray[Any]:
    """Integers of twice as many bits, from their halves."""
    words: NDArray[Any] = np.left_shift(high, 8 * high.itemsize, dtype=f"u{2 * high.itemsize}")
    np.bitwise_or(words, low, out=words)
    return words


def _plane(data: memoryview, compressed: bool, nbytes: int) -> bytes | memoryview:
    if not compressed:
        if len(data) != nbytes:
            raise PackError(f"Expected a raw plane of {nbytes} bytes, found {len(data)}")
        return data
    return decompress(data, nbytes)
