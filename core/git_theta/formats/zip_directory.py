"""The directory of a zip file: where each entry's bytes and checksums lie.

Read by a parser of our own because the standard library's tells neither where an entry's content
starts nor where its checksum is repeated, trusts local headers that contradict the directory, and
may inflate. Nothing is inflated here. Stricter than most readers on purpose: what is refused is
stored as an unknown file, so no byte is lost.

Sections named below are those of PKWARE's APPNOTE.TXT 6.3.10.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from git_theta.errors import CheckpointError, FormatMismatch
from git_theta.formats.overlay import Overlay
from git_theta.formats.zip_end import find_directory
from git_theta.source import BytesSource, Source

MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
"""How a zip file starts: with an entry, or, when it is empty, with the end of its directory."""

_LOCAL = Struct("<4s2x2H4x3L2H")  # 4.3.7
_RECORD = Struct("<4s4x2H4x3L4H6xL")  # 4.3.12

_DESCRIPTOR32, _DESCRIPTOR64 = Struct("<3L"), Struct("<L2Q")  # 4.3.9

_HERE16, _HERE32 = 0xFFFF, 0xFFFFFFFF  # "the number stands in the zip64 extra field"
_DESCRIPTOR, _UTF8 = 1 << 3, 1 << 11
_ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13
_PATCHED = 1 << 5

_SMALL = 4096  # bytes that an entry takes on average where reading it all beats many small reads
_WINDOW = 2**17  # bytes read at once in that case


class Entry(NamedTuple):
    """One entry of a zip file."""

    name: str
    """Name of the entry as stored; never to be used as a path."""
    start: int
    """Offset of the entry's first content byte in the zip file."""
    nbytes: int
    """Bytes that the content takes in the zip file."""
    stored: bool
    """Whether the content lies there as it is: neither compressed nor encrypted."""
    crc32: int
    """CRC-32 of the uncompressed content, as the directory claims."""
    crc_offsets: tuple[int, ...]
    """Where the zip file repeats the CRC-32: local header, data descriptor, directory."""


class _Record(NamedTuple):
    """What the directory says about an entry."""

    raw_name: bytes
    name: str
    flags: int
    method: int
    crc32: int
    packed: int
    unpacked: int
    header: int
    crc_offset: int


def read_entries(file: Source) -> tuple[Entry, ...]:
    """Read and check the directory of a zip file, and the local header of every entry.

    Returns
    -------
    tuple of Entry
        In file order. They do not overlap, their names differ, all lie before the directory.

    Raises
    ------
    FormatMismatch
        When the file is no zip file at all.
    CheckpointError
        When it is malformed, or split over several disks.
    LimitExceeded
        When it has more entries or bytes of directory than
        :mod:`~git_theta.formats.zip_end` allows.
    """
    if bytes(file.read(0, min(4, file.size))) not in MAGIC:
        raise FormatMismatch("Expected a zip file, found no entry at its start")
    offset, nbytes, count = find_directory(file)
    directory = bytes(file.read(offset, nbytes))
    records = sorted(_read_records(directory, offset, count), key=attrgetter("header"))
    reader = _Reader(file, count)
    entries = []
    end = 0
    for record in records:
        if record.header < end:
            raise CheckpointError(f"Zip entry {record.name!r} overlaps the one before it")
        entry, end = _place(reader, record, offset)
        entries.append(entry)
    return tuple(entries)


def splice_stored(file: Source, entries: Iterable[Entry], changed: Mapping[int, Source]) -> Source:
    """Replace bytes inside stored entries and make the checksums right.

    Parameters
    ----------
    file
        The zip file.
    entries
        What :func:`read_entries` returned for it.
    changed
        Offsets in the zip file, each with the bytes that stand there from now on.

    Raises
    ------
    CheckpointError
        When a change touches an entry that is compressed or encrypted.
    """
    spliced = Overlay(file, changed)
    starts = sorted(start for start, value in changed.items() if value.size)
    checksums: dict[int, Source] = {}
    for entry in entries:
        if not _is_touched(entry, starts, changed):
            continue
        if not entry.stored:
            raise CheckpointError(f"Zip entry {entry.name!r} is compressed, it cannot be changed")
        value = 0
        for block in spliced.window(entry.start, entry.nbytes).blocks():
            value = crc32(block, value)
        checksum = BytesSource(value.to_bytes(4, "little"))
        checksums.update(dict.fromkeys(entry.crc_offsets, checksum))
    return Overlay(spliced, checksums)


def _is_touched(entry: Entry, starts: Sequence[int], changed: Mapping[int, Source]) -> bool:
    index = bisect_right(starts, entry.start)  # the first change behind the entry's first byte
    if index < len(starts) and starts[index] < entry.start + entry.nbytes:
        return True
    before = starts[index - 1] if index else None
    return before is not None and entry.nbytes > 0 and before + changed[before].size > entry.start


def _read_records(directory: bytes, offset: int, count: int) -> Iterator[_Record]:
    names = set()
    at = 0
    for _ in range(count):
        behind = at + _RECORD.size
        if behind > len(directory):
            raise CheckpointError(f"The zip directory ends inside its entry at byte {offset + at}")
        magic, flags, method, crc, *sizes, disk, header = _RECORD.unpack_from(directory, at)
        packed, unpacked, name_bytes, extra_bytes, comment_bytes = sizes
        following = behind + name_bytes + extra_bytes + comment_bytes
        if magic != b"PK\x01\x02" or following > len(directory):
            raise CheckpointError(f"Expected a zip directory entry at byte {offset + at}")
        raw = directory[behind : behind + name_bytes]
        name = _decode_name(raw, flags)
        if name in names:
            raise CheckpointError(f"Two zip entries are named {name!r}")
        names.add(name)
        if disk == _HERE16 or _HERE32 in (packed, unpacked, header):
            extra = directory[behind + name_bytes : behind + name_bytes + extra_bytes]
            numbers = ((unpacked, 8), (packed, 8), (header, 8), (disk, 4))
            unpacked, packed, header, disk = _widen(name, extra, numbers)
        if disk:
            raise CheckpointError(f"Zip entry {name!r} lies on disk {disk} of a split file")
        yield _Record(raw, name, flags, method, crc, packed, unpacked, header, offset + at + 16)
        at = following
    if at != len(directory):
        raise CheckpointError(f"The zip directory has {len(directory) - at} bytes left over")


def _decode_name(raw: bytes, flags: int) -> str:
    try:
        return raw.decode("utf-8" if flags & _UTF8 else "cp437")
    except UnicodeDecodeError as fault:
        raise CheckpointError(f"Zip entry name {raw!r} is not UTF-8") from fault


def _widen(name: str, extra: bytes, numbers: Sequence[tuple[int, int]]) -> Iterator[int]:
    """The numbers, with those that say so taken from the zip64 extra field (4.5.3)."""
    field = _find_zip64(extra)
    at = 0
    for number, width in numbers:
        if number != (_HERE32 if width == 8 else _HERE16):
            yield number
            continue
        if at + width > len(field):
            raise CheckpointError(f"Zip entry {name!r} lacks its 64-bit sizes")
        yield int.from_bytes(field[at : at + width], "little")
        at += width


def _find_zip64(extra: bytes) -> bytes:
    at = 0
    while at + 4 <= len(extra):
        nbytes = int.from_bytes(extra[at + 2 : at + 4], "little")
        if extra[at : at + 2] == b"\x01\x00":
            return extra[at + 4 : at + 4 + nbytes]
        at += 4 + nbytes
    return b""


class _Reader:
    """Reads ranges in ascending order; a zip of many small entries is read in large windows."""

    def __init__(self, file: Source, entries: int) -> None:
        self._file = file
        self._step = _WINDOW if file.size < entries * _SMALL else 0
        self._low = self._high = 0
        self._window = b""

    def read(self, offset: int, nbytes: int) -> bytes:
        end = offset + nbytes
        if offset < self._low or end > self._high:
            self._window = bytes(
                self._file.read(offset, max(nbytes, min(self._step, self._file.size - offset)))
            )
            self._low, self._high = offset, offset + len(self._window)
        return self._window[offset - self._low : end - self._low]


def _place(reader: _Reader, record: _Record, limit: int) -> tuple[Entry, int]:
    """The entry of a record whose local header agrees with it, and where the entry ends.

    ``limit`` is where the directory starts, which no entry may reach into.
    """
    behind = record.header + _LOCAL.size + len(record.raw_name)
    if behind > limit:
        raise CheckpointError(
            f"Zip entry {record.name!r} starts at byte {record.header}, expected it before the "
            f"directory at byte {limit}"
        )
    header = reader.read(record.header, behind - record.header)
    magic, flags, method, crc, packed, unpacked, name_bytes, extra_bytes = _LOCAL.unpack_from(
        header
    )
    name = record.name
    start = record.header + _LOCAL.size + name_bytes + extra_bytes
    end = start + record.packed
    if end > limit:
        raise CheckpointError(
            f"Zip entry {name!r} ends at byte {end}, expected it before the directory at {limit}"
        )
    if _HERE32 in (packed, unpacked):
        extra = reader.read(start - extra_bytes, extra_bytes)
        if not flags & _DESCRIPTOR or _find_zip64(extra):
            unpacked, packed = _widen(name, extra, ((unpacked, 8), (packed, 8)))
    late = bool(flags & _DESCRIPTOR)
    blank = (0, _HERE32) if late else ()
    if (
        magic != b"PK\x03\x04"
        or header[_LOCAL.size :] != record.raw_name
        or name_bytes != len(record.raw_name)
        or (flags ^ record.flags) & (_DESCRIPTOR | _ENCRYPTED)
        or method != record.method
        or (packed != record.packed and packed not in blank)
        or (unpacked != record.unpacked and unpacked not in blank)
        or (crc != record.crc32 and not (late and crc == 0))
    ):
        raise CheckpointError(f"The local header of zip entry {name!r} contradicts the directory")
    stored = method == 0 and not flags & (_ENCRYPTED | _PATCHED)
    if stored and record.packed != record.unpacked:
        raise CheckpointError(
            f"Zip entry {name!r} is stored as it is, yet in {record.packed} bytes "
            f"instead of {record.unpacked}"
        )
    offsets = [record.crc_offset]
    if crc == record.crc32 and (crc or not late):
        offsets.insert(0, record.header + 14)
    if late:
        crc_at, end = _find_descriptor(reader, record, end, limit)
        offsets.insert(-1, crc_at)
    return Entry(name, start, record.packed, stored, record.crc32, tuple(offsets)), end


def _find_descriptor(reader: _Reader, record: _Record, at: int, limit: int) -> tuple[int, int]:
    """Where the data descriptor at ``at`` has its CRC-32, and where it ends (4.3.9).

    Its signature is optional and its sizes have 4 or 8 bytes: the form that agrees is the one.
    """
    found = reader.read(at, min(24, limit - at))
    for magic in (b"PK\x07\x08", b""):
        for form in (_DESCRIPTOR32, _DESCRIPTOR64):
            if form is _DESCRIPTOR32 and max(record.packed, record.unpacked) > _HERE32:
                continue
            expected = magic + form.pack(record.crc32, record.packed, record.unpacked)
            if found.startswith(expected):
                return at + len(magic), at + len(expected)
    raise CheckpointError(
        f"The data descriptor of zip entry {record.name!r} contradicts the directory"
    )
