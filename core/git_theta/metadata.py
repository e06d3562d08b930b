"""The text that git stores in place of a file: parse and print, as docs/spec/metadata-v1.md says.

Pure text and values; what the digests refer to is the business of clean and smudge.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from git_theta.dtypes import BITS, count_bytes
from git_theta.errors import ConflictError, MetadataError

FIRST_LINE = b"git-theta metadata 1\n"
MAX_BYTES = 128 * 2**20
"""Longest metadata that is read."""
MAX_CUTS = 4
MAX_ITEMS = 2**20
"""Most items that metadata may have."""

_PREFIX = b"git-theta metadata "
_BARE = re.compile(r'[^\s"\\]+')
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_SHAPE = re.compile(r"\[(?:(?:0|[1-9][0-9]{0,18})(?:,(?:0|[1-9][0-9]{0,18}))*)?\]")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_CONFLICT = re.compile(rb"^(?:<{7,} |\|{7,} |={7,}\r?$|>{7,} )", re.MULTILINE)


class Group(NamedTuple):
    """A parameter group."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    digest: bytes
    """BLAKE3 of its elements, contiguous and little-endian."""

    @property
    def nbytes(self) -> int:
        """Length of its elements in bytes."""
        return count_bytes(self.dtype, self.shape)


class StoredBuffer(NamedTuple):
    """A buffer that is not one whole group."""

    dtype: str
    nbytes: int
    digest: bytes


class PackHint(NamedTuple):
    """A pack that is read to rebuild some items."""

    pack: str
    nbytes: int
    items: tuple[int, ...]
    """Ascending numbers: 0 the skeleton, then groups, then buffers."""


class Skeleton(NamedTuple):
    """Where the layout and the other bytes of the file are."""

    digest: bytes
    nbytes: int
    cuts: int
    """How many times it was cut into chunks; 0: it is a buffer."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the text says of the file as a whole."""

    formats: tuple[tuple[str, str], ...]
    """Name and distribution of the file's format, then of formats of its parts."""
    digest: bytes
    """BLAKE3 of the whole file."""
    nbytes: int
    """Length of the whole file."""
    skeleton: Skeleton


@dataclass(frozen=True, slots=True)
class Metadata(Head):
    """Everything that the text says."""

    groups: tuple[Group, ...]
    buffers: tuple[StoredBuffer, ...]
    packs: tuple[PackHint, ...]


def looks_like_metadata(head: bytes | memoryview) -> bool:
    """Whether bytes begin as metadata of any version does, conflict-marked or not."""
    return bytes(head[: len(_PREFIX)]) == _PREFIX


def has_conflict(text: bytes) -> bool:
    """Whether text carries git's conflict markers."""
    return _CONFLICT.search(text) is not None


def normalize(text: bytes, path: str) -> bytes:
    """Metadata as it belongs into git: LF line ends, checked.

    Raises
    ------
    ConflictError
        When it carries conflict markers.
    MetadataError
        When it is not valid.
    """
    text = text.replace(b"\r\n", b"\n")
    if has_conflict(text):
        raise ConflictError(
            f"{path} holds metadata of two versions in conflict",
            remedy=f"Take one side: git checkout --ours -- '{path}' (or --theirs), "
            f"then git add '{path}'",
        )
    parse(text, path)
    return text


def parse_head(text: bytes) -> Head | None:
    """What the first lines say; None when they are not metadata. The rest is not looked at."""
    if not text.startswith(FIRST_LINE):
        return None
    lines = text[:65536].decode(errors="replace").replace("\r\n", "\n").split("\n")
    try:
        return _parse_head(iter(lines))
    except (ValueError, StopIteration):
        return None


def print_metadata(metadata: Metadata) -> bytes:
    """The one valid text."""
    lines = [FIRST_LINE.decode().rstrip("\n")]
    lines += [f"format {name} {distribution}" for name, distribution in metadata.formats]
    lines.append(f"file {metadata.digest.hex()} {metadata.nbytes}")
    skeleton = metadata.skeleton
    lines.append(f"skeleton {skeleton.digest.hex()} {skeleton.nbytes} {skeleton.cuts}")
    lines += [
        f"group {quote(name)} {dtype} [{','.join(map(str, shape))}] {digest.hex()}"
        for name, dtype, shape, digest in metadata.groups
    ]
    lines += [f"buffer {dtype} {nbytes} {d.hex()}" for dtype, nbytes, d in metadata.buffers]
    lines += [f"pack {p.pack} {p.nbytes} {_print_ranges(p.items)}" for p in metadata.packs]
    lines.append("")
    return "\n".join(lines).encode()


def parse(text: bytes, path: str = "metadata") -> Metadata:
    """Read metadata.

    Parameters
    ----------
    text
        The text, LF line ends.
    path
        What to call it in messages.

    Raises
    ------
    MetadataError
        When it is anything but the one valid text of its content.
    """
    if len(text) > MAX_BYTES:
        raise MetadataError(f"{path}: metadata of {len(text)} bytes, expected at most {MAX_BYTES}")
    if not text.startswith(FIRST_LINE):
        found = text[:80].split(b"\n")[0].decode(errors="replace")
        raise MetadataError(
            f"{path}: expected metadata of version 1, found {found!r}",
            remedy="If a newer git-theta wrote it: pip install --upgrade git-theta",
        )
    number = 0
    try:
        lines = text.decode().split("\n")
        metadata = _parse_lines(iter(lines))
        if print_metadata(metadata) == text:
            return metadata
        again = print_metadata(metadata).decode().split("\n")
        pairs = zip(again, lines, strict=False)
        number = next((n for n, (a, b) in enumerate(pairs, 1) if a != b), len(lines))
        raise ValueError(f"line {number} is not in canonical form or order")
    except (ValueError, KeyError, StopIteration) as fault:
        raise MetadataError(
            f"{path}: not valid metadata: {fault}",
            remedy=f"Restore it from git: git checkout HEAD -- '{path}'",
        ) from fault


def quote(name: str) -> str:
    """A group's name as it stands in metadata."""
    if _BARE.fullmatch(name) and name.isprintable():
        return name
    return json.dumps(name)


def _unquote(text: str) -> str:
    name = json.loads(text) if text.startswith('"') else text
    if not isinstance(name, str):
        raise ValueError(f"the name {text!r} is no string")
    return name


def _parse_head(lines: Iterator[str]) -> Head:
    next(lines)
    formats = []
    line = next(lines)
    while line.startswith("format "):
        name, distribution = _fields(line, 3)
        formats.append((_match(_WORD, name), _match(_WORD, distribution)))
        line = next(lines)
    digest, nbytes = _fields(line, 3, "file")
    skeleton, length, cuts = _fields(next(lines), 4, "skeleton")
    if not formats or _integer(cuts) > MAX_CUTS:
        raise ValueError("a format line is missing, or the skeleton is cut too often")
    return Head(
        tuple(formats),
        _digest(digest),
        _integer(nbytes),
        Skeleton(_digest(skeleton), _integer(length), _integer(cuts)),
    )


def _parse_lines(lines: Iterator[str]) -> Metadata:
    head = _parse_head(lines)
    groups, buffers, packs = [], [], []
    line = next(lines)
    while line.startswith("group "):
        groups.append(_parse_group(line))
        line = next(lines)
    while line.startswith("buffer "):
        dtype, size, of = _fields(line, 4)
        buffers.append(StoredBuffer(_dtype(dtype), _integer(size), _digest(of)))
        line = next(lines)
    while line.startswith("pack "):
        pack, size, items = _fields(line, 4)
        packs.append(PackHint(_match(_DIGEST, pack), _integer(size), _parse_ranges(items)))
        line = next(lines)
    if line or next(lines, None) is not None:
        raise ValueError(f"a line that is not known or out of order: {line[:80]!r}")
    _check_order([g.name for g in groups], "groups")
    _check_order(buffers, "buffers")
    count = 1 + len(groups) + len(buffers)
    if any(not p.items or p.items[-1] >= count for p in packs):
        raise ValueError(f"a pack names an item that is not there, {count} are")
    if packs != sorted(packs, key=lambda p: (p.items, p.pack)):
        raise ValueError("packs out of order")
    return Metadata(
        head.formats,
        head.digest,
        head.nbytes,
        head.skeleton,
        tuple(groups),
        tuple(buffers),
        tuple(packs),
    )


def _parse_group(line: str) -> Group:
    rest, dtype, shape, digest = line.rsplit(" ", 3)
    if not _SHAPE.fullmatch(shape):
        raise ValueError(f"the shape {shape[:80]!r}")
    sizes = tuple(map(int, shape[1:-1].split(","))) if len(shape) > 2 else ()
    count_bytes(_dtype(dtype), sizes)
    return Group(_unquote(rest[6:]), dtype, sizes, _digest(digest))


def _fields(line: str, count: int, kind: str = "") -> Sequence[str]:
    fields = line.split(" ")
    if len(fields) != count or (kind and fields[0] != kind):
        raise ValueError(f"expected a line {kind or fields[0]!r} of {count} fields: {line[:80]!r}")
    return fields[1:]


def _match(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(f"the field {text[:80]!r}")
    return text


def _digest(text: str) -> bytes:
    return bytes.fromhex(_match(_DIGEST, text))


def _integer(text: str) -> int:
    return int(_match(_NUMBER, text))


def _dtype(text: str) -> str:
    if text not in BITS:
        raise ValueError(f"the dtype {text[:80]!r}, which this version does not know")
    return text


def _check_order(items: Sequence[object], what: str) -> None:
    if any(not a < b for a, b in pairwise(items)):  # type: ignore[operator]
        raise ValueError(f"{what} out of order or repeated")


def _print_ranges(items: Sequence[int]) -> str:
    ranges: list[list[int]] = []
    for item in items:
        if ranges and item == ranges[-1][1] + 1:
            ranges[-1][1] = item
        else:
            ranges.append([item, item])
    return ",".join(f"{low}-{high}" if low < high else f"{low}" for low, high in ranges)


def _parse_ranges(text: str) -> tuple[int, ...]:
    items: list[int] = []
    for piece in text.split(","):
        low, _, high = piece.partition("-")
        first, last = _integer(low), _integer(high or low)
        if last - first + len(items) > MAX_ITEMS or (items and first <= items[-1]) or last < first:
            raise ValueError(f"the items {text[:80]!r}")
        items.extend(range(first, last + 1))
    return tuple(items)
