"""zstd frames that say how long they are: the only ones that packs may hold.

Decompressing never reserves more than the caller expects, whatever a hostile frame claims.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import zstandard

from git_theta.errors import PackError

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
    """The same for bytes that change along the plane: what counts them anew every 16 KiB.

    All zeros, as where a base was not changed, would take a few bytes for each of these.
    """
    import numpy as np

    if not np.frombuffer(data, np.uint8).any():
        return compress_text(data)
    if not hasattr(_local, "sorted"):
        _local.sorted = _fast(window_log=14)  # the window bounds how much shares one Huffman code
    frame: bytes = _local.sorted.compress(data)
    return frame


def compress_each(data: bytes | memoryview, sizes: Sequence[int]) -> Sequence[bytes | memoryview]:
    """A frame, as :func:`compress_numbers` makes it, for each of the pieces of these sizes."""
    ends = list(accumulate(sizes))
    compressor = _numbers()
    if not hasattr(compressor, "multi_compress_to_buffer"):  # not in every build of the library
        view = memoryview(data)
        return [
            compressor.compress(view[end - n : end]) for end, n in zip(ends, sizes, strict=True)
        ]
    import numpy as np

    lengths = np.array(sizes, np.uint64)
    segments = np.stack([np.array(ends, np.uint64) - lengths, lengths], axis=1).tobytes()
    return list(compressor.multi_compress_to_buffer(zstandard.BufferWithSegments(data, segments)))


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
    data: bytes | memoryview, frames: Sequence[tuple[int, int, int]]
) -> bytes | memoryview:
    """Decompress several frames of ``data``, one after another; errors as above.

    Each frame is given by its offset, its length, and the exact length of what it holds.
    """
    decompressor, view = _decompressor(None), memoryview(data)
    if not hasattr(decompressor, "multi_decompress_to_buffer"):
        return b"".join([decompress(view[at : at + n], nbytes) for at, n, nbytes in frames])
    import numpy as np

    table = np.array(frames, np.uint64).reshape(-1, 3)
    try:
        claimed = [zstandard.frame_content_size(view[at : at + n]) for at, n, _ in frames]
        if claimed != [nbytes for _, _, nbytes in frames]:
            raise PackError(f"Expected {len(frames)} zstd frames that say how long they are")
        found = decompressor.multi_decompress_to_buffer(
            zstandard.BufferWithSegments(data, table[:, :2].tobytes()), table[:, 2].tobytes()
        )
    except (zstandard.ZstdError, ValueError) as fault:
        raise PackError(f"Expected {len(frames)} zstd frames, found: {fault}") from fault
    plain = b"".join(found)
    if len(plain) != table[:, 2].sum():
        raise PackError(f"Expected {len(frames)} zstd frames, found {len(plain)} bytes in them")
    return plain


def _decompressor(dictionary: bytes | None) -> Any:
    if dictionary is not None:
        return zstandard.ZstdDecompressor(dict_data=_raw(dictionary))
    if not hasattr(_local, "decompressor"):
        _local.decompressor = zstandard.ZstdDecompressor()
    return _local.decompressor


def _raw(dictionary: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
