"""Marks paths in git's index as unchanged, after we wrote or read their files ourselves.

git would do so by running the clean filter again, which for a file of many gigabytes means to
pipe all of it. Only the stat fields of existing entries are replaced; the rest of the index stays
byte for byte. Where the index is of a kind that we do not know, nothing is done: git finds out by
itself. Format: gitformat-index(5), versions 2 to 4.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from git_theta.errors import GitError
from git_theta.git import run

_HEADER = struct.Struct(">4sII")
_STAT = struct.Struct(">6I")
_OWNER = struct.Struct(">3I")


def mark_unchanged(files: Mapping[str, os.stat_result]) -> None:
    """Record that files are as their index entries say.

    Parameters
    ----------
    files
        Paths from the top of the work tree, each with the stat of its file from before its
        content was last compared.

    Raises
    ------
    GitError
        When another process has the index locked.
    """
    path = Path(run.text("rev-parse", "--git-path", "index"))
    lock = path.with_name(path.name + ".lock")
    try:
        fd = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError as fault:
        raise GitError(
            f"Another git process has locked {path}",
            remedy=f"Wait for it to end; if it crashed, remove {lock}",
        ) from fault
    try:
        with os.fdopen(fd, "wb") as out:
            changed = with_stats(path.read_bytes(), {os.fsencode(p): s for p, s in files.items()})
            out.write(changed)
        lock.replace(path)
    except (ValueError, struct.error, IndexError):  # not an index that we know: leave it to git
        lock.unlink(missing_ok=True)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            lock.unlink()
        raise


def with_stats(index: bytes, files: Mapping[bytes, os.stat_result]) -> bytes:
    """The bytes of an index in which some entries have other stat fields.

    Raises
    ------
    ValueError
        When it is not an index of version 2, 3 or 4, or its checksum is wrong.
    """
    magic, version, count = _HEADER.unpack_from(index)
    width = _checksum_width(index)
    if magic != b"DIRC" or version not in (2, 3, 4):
        raise ValueError(f"an index of version {version}")
    data = bytearray(index)
    for at, name in _entries(index, version, count, width):
        if name in files:
            _write_stat(data, at, files[name])
    if any(index[-width:]):  # a checksum of zeros says that the index has none
        data[-width:] = _hash(width, data[:-width])
    return bytes(data)


def _hash(width: int, data: bytes | bytearray) -> bytes:
    return hashlib.new("sha1" if width == 20 else "sha256", data, usedforsecurity=False).digest()


def _checksum_width(index: bytes) -> int:
    for width in (20, 32):
        if index[-width:] == _hash(width, index[:-width]):
            return width
    if not any(index[-20:]):
        return 32 if run.text("rev-parse", "--show-object-format") == "sha256" else 20
    raise ValueError("the checksum of the index is wrong")


def _entries(index: bytes, version: int, count: int, width: int) -> Iterator[tuple[int, bytes]]:
    """Offset and name of each entry that is not part of a conflict."""
    at, name = _HEADER.size, b""
    for _ in range(count):
        flags_at = at + 40 + width
        (flags,) = struct.unpack_from(">H", index, flags_at)
        start = flags_at + (4 if flags & 0x4000 else 2)
        if version == 4:
            strip, start = _varint(index, start)
            end = index.index(b"\0", start)
            name = name[: len(name) - strip] + index[start:end]
            after = end + 1
        else:
            end = index.index(b"\0", start)
            name = index[start:end]
            after = at + (end - at + 8) // 8 * 8
        if not flags & 0x3000:
            yield at, name
        at = after


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """git's offset encoding: a value, and where it ends."""
    byte = data[at]
    value = byte & 127
    while byte & 128:
        at += 1
        byte = data[at]
        value = (value + 1 << 7) | (byte & 127)
    return value, at + 1


def _write_stat(data: bytearray, at: int, stat: os.stat_result) -> None:
    size = stat.st_size & 0xFFFFFFFF
    if stat.st_size and not size:
        return  # git takes a recorded length of 0 for "look at the file"
    cut = 0xFFFFFFFF
    times = [divmod(ns, 10**9) for ns in (stat.st_ctime_ns, stat.st_mtime_ns)]
    _STAT.pack_into(
        data, at, *(n & cut for t in times for n in t), stat.st_dev & cut, stat.st_ino & cut
    )
    _OWNER.pack_into(data, at + 28, stat.st_uid & cut, stat.st_gid & cut, size)
