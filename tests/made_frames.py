"""Frames for tests: taken apart and put together by hand, and there and back by git-theta."""

from __future__ import annotations

import io
from collections.abc import Iterator

import zstandard

from git_theta.frames import content_size, fold, frame_size, unfold
from git_theta.source import BytesSource

MAGIC = bytes.fromhex("28b52ffd")
HEADER = MAGIC + b"\x00\x50"  # no content size, no checksum, a window of 1 MiB
RAW, RLE, COMPRESSED, RESERVED = range(4)


def block(kind: int, size: int, body: bytes = b"", *, last: bool = True) -> bytes:
    """A block with a header that says so, whatever the body is."""
    return (size << 3 | kind << 1 | last).to_bytes(3, "little") + body


def compressed(body: bytes, *, last: bool = True) -> bytes:
    return block(COMPRESSED, len(body), body, last=last)


def blocks(frame: bytes) -> Iterator[tuple[int, bytes]]:
    """The kind and the body of each block; of an RLE block the one byte."""
    told = frame[4]
    at = 6 - (told >> 5 & 1) + (told >> 5 & 1, 2, 4, 8)[told >> 6]
    last = 0
    while not last:
        header = int.from_bytes(frame[at : at + 3], "little")
        last, kind = header & 1, header >> 1 & 3
        size = 1 if kind == RLE else header >> 3
        yield kind, frame[at + 3 : at + 3 + size]
        at += 3 + size


def literals(frame: bytes) -> list[str]:
    """How each compressed block has its literals."""
    kinds = ("raw", "rle", "coded", "treeless")
    return [kinds[body[0] & 3] for kind, body in blocks(frame) if kind == COMPRESSED]


def unfolded(frame: bytes) -> tuple[bytes, bytes] | None:
    """The recipe and the content."""
    content = io.BytesIO()
    recipe = unfold(BytesSource(frame), content.write)
    return None if recipe is None else (recipe, content.getvalue())


def folded(recipe: bytes, content: bytes) -> bytes:
    """The frame; all of the content is asked for, and no more."""
    source = io.BytesIO(content)
    frame = b"".join(fold(recipe, source.read))
    assert source.tell() == len(content)
    return frame


def assert_given_back(frame: bytes, content: bytes) -> bytes:
    """The very bytes come back from the recipe, which is returned."""
    found = unfolded(frame)
    assert found is not None
    recipe, plain = found
    assert plain == content
    assert folded(recipe, content) == frame
    assert (frame_size(recipe), content_size(recipe)) == (len(frame), len(content))
    return recipe


def compress(data: bytes, level: int = 3, **options: bool) -> bytes:
    frame: bytes = zstandard.ZstdCompressor(level=level, **options).compress(data)
    return frame
