"""zstd frames that say how long they are: the only ones that packs may hold.

Decompressing never reserves more than the caller expects, whatever a hostile frame claims.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence
from typing import Any

import zstandard

from git_theta.errors import PackError

_SEGMENT = struct.Struct("=QQ")
_local = threading.local()  # contexts must not be shared between threads


def compress_text(data: bytes | memoryview) -> bytes:
    """One frame of bytes that may repeat (text, headers, code), with zstd's ordinary settings."""
    if not hasattr(_local, "text"):
        _local.text = zstandard.ZstdCompressor(level=3)
    frame: bytes = _local.text.compress(data)
    return frame


def compress_numbers(data: bytes | memoryview) -> bytes:
    """One frame of a byte plane: entropy coding all but alone, match search hurts there."""
    frame: bytes = _numbers().compress(data)
    return frame


def compress_sorted(data: bytes | memoryview) -> bytes:
    """The same for bytes that change along the plane: what counts them anew every 16 KiB."""
    if not hasattr(_local, "sorted"):
        _local.sorted = _fast(window_log=14)  # the window bounds how much shares one Huffman code
    frame: bytes = _local.sorted.compress(data)
    return frame


def compress_each(data: bytes | memoryview, step: int) -> Sequence[bytes | memoryview]:
    """A frame, as :func:`compress_numbers` makes it, for every ``step`` bytes."""
    compressor = _numbers()
    if not hasattr(compressor, "multi_compress_to_buffer"):  # not in every build of the library
        view = memoryview(data)
        return [compressor.compress(view[at : at + step]) for at in range(0, len(view), step)]
    size = len(data)
    segments = b"".join(_SEGMENT.pack(at, min(step, size - at)) for at in range(0, size, step))
    frames = compressor.multi_compress_to_buffer(zstandard.BufferWithSegments(data, segments))
    return [frame.tobytes() for frame in frames]


def _numbers() -> Any:
    if not hasattr(_local, "numbers"):
        _local.numbers = _fast(window_log=18)
    return _local.numbers


def _fast(*, window_log: int) -> zstandard.ZstdCompressor:
    return zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(
            strategy=zstandard.STRATEGY_FAST, min_match=7, hash_log=6, window_log=window_log
        )
    )


def compress_against(data: bytes, dictionary: bytes) -> bytes:
    """One frame of ``data`` with ``dictionary`` as content that was seen before."""
    frame: bytes = zstandard.ZstdCompressor(level=9, dict_data=_raw(dictionary)).compress(data)
    return frame


def decompress(data: bytes | memoryview, nbytes: int, *, dictionary: bytes | None = None) -> bytes:
    """Decompress one frame that must say it holds exactly ``nbytes`` bytes.

    Raises
    ------
    PackError
        When it says, or holds, anything else.
    """
    try:
        claimed = zstandard.get_frame_parameters(data).content_size
        if claimed != nbytes:
            raise PackError(f"Expected a zstd frame of {nbytes} bytes, found one of {claimed}")
        plain: bytes = _decompressor(dictionary).decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as fault:
        raise PackError(f"Expected a zstd frame of {nbytes} bytes, found: {fault}") from fault
    if len(plain) != nbytes:
        raise PackError(f"Expected a zstd frame of {nbytes} bytes, found {len(plain)}")
    return plain


def decompress_each(
    data: bytes | memoryview, starts: Sequence[int], lengths: Sequence[int], nbytes: int
) -> bytes | memoryview:
    """Decompress several frames of ``data``, each to exactly ``nbytes`` bytes; errors as above."""
    decompressor = _decompressor(None)
    frames = [memoryview(data)[at : at + n] for at, n in zip(starts, lengths, strict=True)]
    if not hasattr(decompressor, "multi_decompress_to_buffer"):
        return b"".join([decompress(frame, nbytes) for frame in frames])
    segments = b"".join(map(_SEGMENT.pack, starts, lengths))
    try:
        for frame in frames:
            if zstandard.get_frame_parameters(frame).content_size != nbytes:
                raise PackError(f"Expected zstd frames of {nbytes} bytes, found another one")
        found = decompressor.multi_decompress_to_buffer(
            zstandard.BufferWithSegments(data, segments)
        )
    except (zstandard.ZstdError, ValueError) as fault:
        raise PackError(f"Expected zstd frames of {nbytes} bytes, found: {fault}") from fault
    plain = b"".join([segment.tobytes() for segment in found])
    if len(plain) != nbytes * len(frames):
        raise PackError(f"Expected {len(frames)} zstd frames of {nbytes} bytes, found {len(plain)}")
    return plain


def _decompressor(dictionary: bytes | None) -> Any:
    if dictionary is not None:
        return zstandard.ZstdDecompressor(dict_data=_raw(dictionary))
    if not hasattr(_local, "decompressor"):
        _local.decompressor = zstandard.ZstdDecompressor()
    return _local.decompressor


def _raw(dictionary: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
