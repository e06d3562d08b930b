"""The head of a frame: how its blocks are to be taken, and whether a checksum follows them.

RFC 8878, section 3.1.1.1.
"""

from __future__ import annotations

from dataclasses import dataclass

from git_theta.errors import PackError
from git_theta.frames.blocks import Parts

_MAGIC = bytes.fromhex("28b52ffd")


@dataclass(frozen=True, slots=True)
class Header:
    """The head of a frame."""

    data: bytes
    """Its bytes."""
    checksum: int
    """Bytes of the checksum after the blocks, 0 or 4."""


def read_header(parts: Parts) -> Header:
    """Read the head of a frame.

    Raises
    ------
    PackError
        When it is none, or that of a frame that needs a dictionary.
    """
    start = parts.take(5)
    if start[:4] != _MAGIC:
        raise PackError(f"Expected a zstd frame, found {start[:4].hex()}")
    told = start[4]
    alone = told >> 5 & 1
    if told & 3 or told & 8:
        raise PackError("Expected a frame without a dictionary or reserved bits, found one")
    window = 1 - alone
    content = (alone, 2, 4, 8)[told >> 6]
    return Header(start + parts.take(window + content), told & 4)
