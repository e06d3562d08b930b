"""CRC-32C as TensorFlow and LevelDB store it: rotated, plus a constant (crc32c.h, ``Mask``)."""

from __future__ import annotations

from git_theta.source import Source

_DELTA = 0xA282EAD8


def masked(data: bytes | bytearray | memoryview) -> int:
    """The masked CRC-32C of bytes."""
    return _mask(_extend(0, data))


def masked_of(source: Source) -> int:
    """The masked CRC-32C of a source."""
    crc = 0
    for block in source.blocks():
        crc = _extend(crc, block)
    return _mask(crc)


def _extend(crc: int, data: bytes | bytearray | memoryview) -> int:
    import google_crc32c

    # the library takes nothing but bytes
    return int(google_crc32c.extend(crc, data if isinstance(data, bytes) else bytes(data)))


def _mask(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + _DELTA) & 0xFFFFFFFF
