"""The text that git stores in place of a file: parse and print, as docs/spec/metadata-v1.md says.

Pure text and values; what the digests refer to is the business of clean and smudge.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import NamedTuple

from git_theta.checkpoint import MAX_RANK
from git_theta.dtypes import BITS, count_bytes
from git_theta.errors import ConflictError, MetadataError

FIRST_LINE = b"git-theta metadata 1\n"
MAX_BYTES = 64 * 2**20
"""Longest metadata that is read."""
MAX_CUTS = 4
MAX_ITEMS = 2**18
"""Most items that metadata may have."""
MAX_PACKS = 8
"""Most packs that an item other than the skeleton is read from: payloads are that deep."""

_PREFIX = b"git-theta metadata "
_BARE = re.compile(r"[!#-\[\]-~]+")  # ASCII alone: what else is printable, Unicode changes
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
    return "\n".join(_print_lines(metadata)).encode()


def _print_lines(metadata: Metadata) -> Iterator[str]:
    yield FIRST_LINE.decode().rstrip("\n")
    for name, distribution in metadata.formats:
        yield f"format {name} {distribution}"
    yield f"file {metadata.digest.hex()} {metadata.nbytes}"
    skeleton = metadata.skeleton
    yield f"skeleton {skeleton.digest.hex()} {skeleton.nbytes} {skeleton.cuts}"
    for name, dtype, shape, digest in metadata.groups:
        yield f"group {quote(name)} {dtype} [{','.join(map(str, shape))}] {digest.hex()}"
    for dtype, nbytes, digest in metadata.buffers:
        yield f"buffer {dtype} {nbytes} {digest.hex()}"
    for pack, nbytes, items in metadata.packs:
        yield f"pack {pack} {nbytes} {_print_ranges(items)}"
    yield ""


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
    try:
        lines = text.decode().split("\n")
        metadata = _parse_lines(iter(lines))
        for number, (again, line) in enumerate(zip_longest(_print_lines(metadata), lines), 1):
            if again != line:
                raise ValueError(f"line {number} is not in canonical form or order")
        return metadata
    except StopIteration as fault:
        raise _invalid(path, "it ends too early") from fault
    except ValueError as fault:
        raise _invalid(path, fault) from fault


def _invalid(path: str, fault: object) -> MetadataError:
    return MetadataError(
        f"{path}: not valid metadata: {fault}",
        remedy=f"Restore it from git: git checkout HEAD -- '{path}'",
    )


def quote(name: str) -> str:
    """A group's name as it stands in metadata."""
    return name if _BARE.fullmatch(name) else json.dumps(name)


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
        buffers.append(_parse_buffer(line))
        line = next(lines)
    count = 1 + len(groups) + len(buffers)
    if count > MAX_ITEMS:
        raise ValueError(f"{count} items, expected at most {MAX_ITEMS}")
    named = 0
    while line.startswith("pack "):
        packs.append(_parse_pack(line, count))
        named += len(packs[-1].items) - 1
        if named > MAX_PACKS * count:  # checked on the way: a short text can name many
            raise ValueError("packs that name their items too often")
        line = next(lines)
    if line or next(lines, None) is not None:
        raise ValueError(f"a line that is not known or out of order: {line[:80]!r}")
    _check_order([g.name for g in groups], "groups")
    _check_order(buffers, "buffers")
    _check_order([(p.items, p.pack) for p in packs], "packs")
    if len({p.pack for p in packs}) < len(packs):
        raise ValueError("a pack that is named twice")
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
    if len(sizes) > MAX_RANK:
        raise ValueError(f"a shape of {len(sizes)} dimensions, expected at most {MAX_RANK}")
    count_bytes(_dtype(dtype), sizes)
    return Group(_unquote(rest[6:]), dtype, sizes, _digest(digest))


def _parse_buffer(line: str) -> StoredBuffer:
    dtype, size, digest = _fields(line, 4)
    nbytes = _integer(size)
    if nbytes % max(1, BITS[_dtype(dtype)] // 8):
        raise ValueError(f"a buffer of {nbytes} bytes, which no {dtype} fills")
    return StoredBuffer(dtype, nbytes, _digest(digest))


def _parse_pack(line: str, count: int) -> PackHint:
    pack, size, items = _fields(line, 4)
    return PackHint(_match(_DIGEST, pack), _integer(size), _parse_ranges(items, count))


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


def _parse_ranges(text: str, count: int) -> tuple[int, ...]:
    items: list[int] = []
    for piece in text.split(","):
        low, _, high = piece.partition("-")
        first, last = _integer(low), _integer(high or low)
        if last < first or (items and first <= items[-1]) or last >= count:
            raise ValueError(f"the items {text[:80]!r}, expected ascending numbers below {count}")
        items.extend(range(first, last + 1))
    return tuple(items)
