"""The end of a zip file: where its directory lies and how large it is, with and without zip64.

Sections named below are those of PKWARE's APPNOTE.TXT 6.3.10.
"""

from __future__ import annotations

from struct import Struct

from git_theta.errors import CheckpointError, LimitExceeded
from git_theta.source import Source

MAX_ENTRIES = 2**18
"""Entries a zip file may have; each costs about half a kilobyte of memory."""

MAX_DIRECTORY = 64 * 2**20
"""Bytes that the directory may take, as it is read at once."""

_END64 = Struct("<4sQ4x2L4Q")  # 4.3.14
_LOCATOR = Struct("<4sLQL")  # 4.3.15
_END = Struct("<4s4H2LH")  # 4.3.16
_RECORD_BYTES = 46  # least that an entry of the directory takes, 4.3.12

_HERE16, _HERE32 = 0xFFFF, 0xFFFFFFFF  # "the number stands in the zip64 record"


def find_directory(file: Source) -> tuple[int, int, int]:
    """Find the directory of a zip file.

    Returns
    -------
    tuple of int
        Its offset in the file, its length in bytes, and how many entries it has.

    Raises
    ------
    CheckpointError
        When it is not where it should be, or the file is a part of a split one.
    LimitExceeded
        When it has more than `MAX_ENTRIES` entries or `MAX_DIRECTORY` bytes.
    """
    end, numbers = _find_end(file)
    disk, directory_disk, here, count, nbytes, offset = numbers
    end64 = _find_end64(file, end)
    if end64:
        end, wide = end64
        limits = (_HERE16, _HERE16, _HERE16, _HERE16, _HERE32, _HERE32)
        for number, other, limit in zip(numbers, wide, limits, strict=True):
            if number not in (other, limit):
                raise CheckpointError(f"The zip64 directory says {other} where zip says {number}")
        disk, directory_disk, here, count, nbytes, offset = wide
    if disk or directory_disk or here != count:
        raise CheckpointError("Expected a zip file in one piece, found a part of a split one")
    if offset + nbytes != end:
        raise CheckpointError(
            f"Expected the zip directory to end at byte {end}, "
            f"found {nbytes} bytes of it at offset {offset}"
        )
    if count * _RECORD_BYTES > nbytes:
        raise CheckpointError(f"A zip directory of {nbytes} bytes cannot hold {count} entries")
    if count > MAX_ENTRIES or nbytes > MAX_DIRECTORY:
        raise LimitExceeded(
            f"Expected a zip directory of at most {MAX_ENTRIES} entries and {MAX_DIRECTORY} bytes, "
            f"found {count} entries and {nbytes} bytes"
        )
    return offset, nbytes, count


def _find_end(file: Source) -> tuple[int, tuple[int, ...]]:
    """Where the end record lies and the six numbers in it; a comment may follow it."""
    nbytes = min(file.size, _END.size + 0xFFFF)
    tail = bytes(file.read(file.size - nbytes, nbytes))
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0:
        if at + _END.size <= nbytes:
            _, *numbers, comment = _END.unpack_from(tail, at)
            if at + _END.size + comment == nbytes:
                return file.size - nbytes + at, tuple(numbers)
        at = tail.rfind(b"PK\x05\x06", 0, at + 3)
    raise CheckpointError(
        "Expected the end of a zip directory at the end of the file, found none: "
        "the file is truncated or has bytes appended"
    )


def _find_end64(file: Source, end: int) -> tuple[int, tuple[int, ...]] | None:
    """The zip64 end record before a locator at ``end``, as :func:`_find_end`; None: there is none.

    Torch writes one always, however small the file.
    """
    at = end - _LOCATOR.size
    if at < 0:
        return None
    magic, disk, start, disks = _LOCATOR.unpack(file.read(at, _LOCATOR.size))
    if magic != b"PK\x06\x07":
        return None
    if disk or disks > 1:
        raise CheckpointError(f"Expected a zip file in one piece, found one of {disks} disks")
    if start + _END64.size > at:
        raise CheckpointError(f"Expected a zip64 end record before byte {at}, found it at {start}")
    magic, nbytes, *numbers = _END64.unpack(file.read(start, _END64.size))
    if magic != b"PK\x06\x06" or start + 12 + nbytes != at:
        raise CheckpointError(f"Expected a zip64 end record at byte {start}, found other bytes")
    return start, tuple(numbers)
