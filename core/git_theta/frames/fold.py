"""A zstd frame from its recipe and its content, without a compressor: the same on any machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from git_theta.errors import PackError
from git_theta.frames.header import read_header
from git_theta.frames.recipe import Kept, content_size, frame_size, read_blocks


def fold(recipe: bytes | memoryview, read: Callable[[int], bytes | memoryview]) -> Iterator[bytes]:
    """Write a frame again.

    Parameters
    ----------
    recipe
        What :func:`~git_theta.frames.unfold.unfold` gave.
    read
        Gives the next so many bytes of the content, at most 128 KiB at once.

    Yields
    ------
    bytes
        The frame, a block at a time.

    Raises
    ------
    PackError
        When the recipe is malformed, or the content is not that of its frame as far as this shows:
        a digest of the frame has to prove it.
    """
    left, unread = frame_size(recipe), content_size(recipe)
    kept = Kept(recipe)
    header = read_header(kept)
    left -= len(header.data)
    yield header.data
    for block in read_blocks(kept):
        unread -= block.nbytes
        left -= len(block.head) + block.gap + len(block.tail)
        if unread < 0 or left < 0:
            raise PackError("Expected a zstd frame as long as its recipe says, found a longer one")
        yield block.written(read(block.nbytes) if block.nbytes else b"")
    checksum = kept.take(header.checksum)
    kept.end()
    if unread or left != len(checksum):
        raise PackError(
            f"Expected a zstd frame as long as its recipe says, found {left - len(checksum)} bytes "
            f"too few, and {unread} of the content"
        )
    yield checksum
