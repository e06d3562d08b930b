"""Frames of zstd that are read whole, in bounds: no length is believed that a frame claims."""

from __future__ import annotations

import zstandard

from git_theta.errors import CheckpointError, LimitExceeded

_BLOCK = 2**16  # bytes unpacked at once
_LEAST_WINDOW = 2**23  # what every decoder should have (RFC 8878, 3.1.1.1.2)


def unpack(frame: bytes | memoryview, most: int, what: str) -> bytes:
    """All bytes of a frame.

    Parameters
    ----------
    frame
        The frame.
    most
        How many bytes it may hold.
    what
        What it is, for messages.

    Raises
    ------
    LimitExceeded
        When it holds more.
    CheckpointError
        When it is none.
    """
    data = bytearray()
    try:
        unpacker = zstandard.ZstdDecompressor(max_window_size=max(most, _LEAST_WINDOW))
        with unpacker.stream_reader(frame) as reader:
            while block := reader.read(_BLOCK):
                data += block
                if len(data) > most:
                    raise LimitExceeded(f"Expected at most {most} bytes in {what}, found more")
    except zstandard.ZstdError as fault:
        raise CheckpointError(f"Expected {what} packed by zstd: {fault}") from fault
    return bytes(data)
