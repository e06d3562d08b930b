"""Git LFS's pointers: what git has in place of a file, or of a pack, that Git LFS keeps."""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_POINTER = 1024
"""Most bytes of a pointer."""

_POINTER = re.compile(
    rb"version https?://(?:git-lfs\.github\.com/spec/v1|hawser\.github\.com/spec/v1|"
    rb"git-media\.io/v/2)\r?\n"
    rb"oid sha256:([0-9a-f]{64})\r?\nsize ([0-9]{1,18})\s*"
)


class Pointer(NamedTuple):
    """A pointer."""

    oid: str
    """SHA-256 of the file."""
    size: int
    """Its bytes."""


def parse_pointer(data: bytes) -> Pointer | None:
    """The pointer that a blob is; None for any other content."""
    found = _POINTER.fullmatch(data) if len(data) <= MAX_POINTER else None
    return Pointer(found[1].decode(), int(found[2])) if found else None


def print_pointer(pointer: Pointer) -> bytes:
    """The one text that git-lfs writes."""
    return (
        "version https://git-lfs.github.com/spec/v1\n"
        f"oid sha256:{pointer.oid}\nsize {pointer.size}\n"
    ).encode()
