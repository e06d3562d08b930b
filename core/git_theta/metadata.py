"""The text that git stores in place of a file: parse and print, as docs/spec/metadata-v1.md says.

Pure text and values; what the digests refer to is the business of clean and smudge.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator
from typing import NamedTuple

from git_theta.dtypes import BITS, count_bytes
from git_theta.errors import ConflictError, MetadataError
from git_theta.metadata_fields import (
    check_dtype,
    check_order,
    parse_digest,
    parse_integer,
    parse_ranges,
    parse_shape,
    parse_word,
    print_ranges,
    print_shape,
    quote_all,
    split_fields,
    unquote,
)

FIRST_LINE = b"git-theta metadata 1\n"
MAX_BYTES = 64 * 2**20
"""Longest metadata that is read."""
MAX_CUTS = 4
HEAD_BYTES = 2**16
"""How much of a file tells whether it is metadata."""
MAX_ITEMS = 2**18
"""Most items that metadata may have."""
MAX_LINES = 2 * MAX_ITEMS
"""Most lines that are looked at: an item's each, and as many for packs."""
MAX_PACKS = 8
"""Most packs that an item other than the skeleton is read from: payloads are that deep."""

_PREFIX = b"git-theta metadata "
_BEGINS = re.compile(rb"(?:<{7,} [^\n]*\n(?:\|{7,}[^\n]*\n)?(?:={7,}\r?\n)?)?" + re.escape(_PREFIX))
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


class Head(NamedTuple):
    """What the text says of the file as a whole."""

    formats: tuple[tuple[str, str], ...]
    """Name and distribution of the file's format, then of formats of its parts."""
    digest: bytes
    """BLAKE3 of the whole file."""
    nbytes: int
    """Length of the whole file."""
    skeleton: Skeleton


class Metadata(NamedTuple):
    """Everything that the text says; the first four are those of :class:`Head`."""

    formats: tuple[tuple[str, str], ...]
    digest: bytes
    nbytes: int
    skeleton: Skeleton
    groups: tuple[Group, ...]
    buffers: tuple[StoredBuffer, ...]
    packs: tuple[PackHint, ...]


def looks_like_metadata(head: bytes | bytearray | memoryview) -> bool:
    """Whether bytes begin as metadata of any version does, perhaps behind a conflict marker."""
    return _BEGINS.match(head) is not None


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
        import shlex  # seldom needed, and git waits for what is imported

        quoted = shlex.quote(path)
        raise ConflictError(
            f"{path} holds metadata of two versions in conflict",
            remedy=f"Take one side: git checkout --ours -- {quoted} (or --theirs), "
            f"then git add -- {quoted}",
        )
    parse(text, path)
    return text


def parse_head(text: bytes) -> Head | None:
    """What the first lines say; None when they are not metadata. The rest is not looked at."""
    if not text.startswith(FIRST_LINE):
        return None
    lines = text[:HEAD_BYTES].decode(errors="replace").replace("\r\n", "\n").split("\n")
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
    names = quote_all([group.name for group in metadata.groups])
    for name, (_, dtype, shape, digest) in zip(names, metadata.groups, strict=True):
        yield f"group {name} {dtype} {print_shape(shape)} {digest.hex()}"
    for dtype, nbytes, digest in metadata.buffers:
        yield f"buffer {dtype} {nbytes} {digest.hex()}"
    for pack, nbytes, items in metadata.packs:
        yield f"pack {pack} {nbytes} {print_ranges(items)}"
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
    if text.count(b"\n") > MAX_LINES:  # before each of them becomes a string
        raise MetadataError(f"{path}: metadata of more than {MAX_LINES} lines")
    if not text.startswith(FIRST_LINE):
        found = text[:80].split(b"\n")[0].decode(errors="replace")
        raise MetadataError(
            f"{path}: expected metadata of version 1, found {found!r}",
            remedy="If a newer git-theta wrote it: pip install --upgrade git-theta",
        )
    try:
        lines = text.decode().split("\n")
        metadata = _parse_lines(iter(lines))
        canonical = list(_print_lines(metadata))
        if canonical != lines:
            same = map(operator.eq, canonical, lines)
            number = 1 + next(
                (n for n, equal in enumerate(same) if not equal), min(len(canonical), len(lines))
            )
            raise ValueError(f"line {number} is not in canonical form or order")
        return metadata
    except StopIteration as fault:
        raise _invalid(path, "it ends too early") from fault
    except ValueError as fault:
        raise _invalid(path, fault) from fault


def _invalid(path: str, fault: object) -> MetadataError:
    import shlex  # as above

    return MetadataError(
        f"{path}: not valid metadata: {fault}",
        remedy=f"Restore it from git: git checkout HEAD -- {shlex.quote(path)}\n"
        "If a newer git-theta wrote it: pip install --upgrade git-theta",
    )


def _parse_head(lines: Iterator[str]) -> Head:
    next(lines)
    formats = []
    line = next(lines)
    while line.startswith("format "):
        name, distribution = split_fields(line, 3)
        formats.append((parse_word(name), parse_word(distribution)))
        line = next(lines)
    digest, nbytes = split_fields(line, 3, "file")
    skeleton, length, cuts = split_fields(next(lines), 4, "skeleton")
    if not formats or parse_integer(cuts) > MAX_CUTS:
        raise ValueError("a format line is missing, or the skeleton is cut too often")
    return Head(
        tuple(formats),
        parse_digest(digest),
        parse_integer(nbytes),
        Skeleton(parse_digest(skeleton), parse_integer(length), parse_integer(cuts)),
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
    check_order([g.name for g in groups], "groups")
    check_order(buffers, "buffers")
    check_order([(p.items, p.pack) for p in packs], "packs")
    if len({p.pack for p in packs}) < len(packs):
        raise ValueError("a pack that is named twice")
    return Metadata(*head, tuple(groups), tuple(buffers), tuple(packs))


def _parse_group(line: str) -> Group:
    rest, dtype, shape, digest = line.rsplit(" ", 3)
    sizes = parse_shape(shape)
    count_bytes(check_dtype(dtype), sizes)
    return Group(unquote(rest[6:]), dtype, sizes, parse_digest(digest))


def _parse_buffer(line: str) -> StoredBuffer:
    dtype, size, digest = split_fields(line, 4)
    nbytes = parse_integer(size)
    if nbytes % max(1, BITS[check_dtype(dtype)] // 8):
        raise ValueError(f"a buffer of {nbytes} bytes, which no {dtype} fills")
    return StoredBuffer(dtype, nbytes, parse_digest(digest))


def _parse_pack(line: str, count: int) -> PackHint:
    pack, size, items = split_fields(line, 4)
    return PackHint(parse_digest(pack).hex(), parse_integer(size), parse_ranges(items, count))
