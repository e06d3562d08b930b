"""Marks paths in git's index as unchanged, after we wrote or read their files ourselves.

git would do so by running the clean filter again, which for a file of many gigabytes means to
pipe all of it. Only the stat fields of existing entries are replaced; the rest of the index stays
byte for byte. Where the index is of a kind that we do not know, or another process has it locked,
nothing is done: git finds out by itself. Format: gitformat-index(5), versions 2 to 4.

git compares whole seconds, so it takes an entry as new as the index for one that may have changed
since ("racy"). An index that we write is newer than the one before: it must not make entries look
settled that nobody has compared.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from git_theta.git import run

_HEADER = struct.Struct(">4sII")
_STAT = struct.Struct(">6I")
_OWNER = struct.Struct(">3I")
_NUMBER = struct.Struct(">I")


def stamp(stat: os.stat_result) -> tuple[int, ...]:
    """What changes when somebody writes to a file, or puts another in its place."""
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def mark_unchanged(top: Path, files: Mapping[str, os.stat_result]) -> None:
    """Record that files are as their index entries say, as far as that is certain and possible.

    A file that is no longer as its stat says is left to git, and so is one of this very second:
    git could not tell a later change from it.

    Parameters
    ----------
    top
        The top of the work tree.
    files
        Paths from there, each with the stat of its file from before its content was last
        compared.
    """
    path = Path(run.text("rev-parse", "--git-path", "index"))
    lock = path.with_name(path.name + ".lock")
    try:
        fd = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except OSError:  # somebody else writes it, or nobody can
        return
    try:
        with os.fdopen(fd, "wb") as out:
            os.fchmod(fd, path.stat().st_mode & 0o777)  # others may share the repository
            now = _written(fd)
            certain = {
                os.fsencode(name): stat
                for name, stat in files.items()
                if stat.st_mtime_ns // 10**9 < now and _is_still(top / name, stat)
            }
            with path.open("rb") as old:
                written = _written(old.fileno())
                doubtful = {os.fsencode(name) for name in files} - certain.keys()
                out.write(with_stats(old.read(), certain, written, doubtful))
        lock.replace(path)
    except (ValueError, struct.error, IndexError, OSError):
        # not an index that we know, or a full disk: leave it to git, which looks at the files then
        lock.unlink(missing_ok=True)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            lock.unlink()
        raise


def _written(fd: int) -> int:
    """When a file was written in whole seconds, by the clock that also dates all others."""
    return os.fstat(fd).st_mtime_ns // 10**9


def _is_still(file: Path, stat: os.stat_result) -> bool:
    try:
        return stamp(file.lstat()) == stamp(stat)
    except OSError:
        return False


def with_stats(
    index: bytes,
    files: Mapping[bytes, os.stat_result],
    written: int,
    doubtful: Collection[bytes] = (),
) -> bytes:
    """The bytes of an index in which some entries have other stat fields.

    Parameters
    ----------
    index
        All bytes of an index.
    files
        New stats by path.
    written
        When that index was written, in whole seconds. Other entries as new as that get a length
        of 0, with which git, too, marks an entry to be looked at.
    doubtful
        Paths that are marked so in any case: an old length would say that they changed.

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
        elif name in doubtful or (_mtime(data, at) >= written and not _is_submodule(data, at)):
            _NUMBER.pack_into(data, at + 36, 0)
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


def _mtime(data: bytearray, at: int) -> int:
    """Whole seconds of an entry's mtime."""
    return int(_STAT.unpack_from(data, at)[2])


def _is_submodule(data: bytearray, at: int) -> bool:
    (mode,) = _NUMBER.unpack_from(data, at + 24)
    return bool(mode >> 12 == 0o16)


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
