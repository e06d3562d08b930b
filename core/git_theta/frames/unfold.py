"""The content of a zstd frame, and a recipe from which that becomes the very frame again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import zstandard

from git_theta.errors import PackError
from git_theta.frames.blocks import LARGEST, Parts
from git_theta.frames.header import read_header
from git_theta.frames.recipe import LONGEST, read_blocks, recipe_of

_WINDOW = 32 * 2**20
"""Bytes that matches reach back at most: libzstd holds them in memory."""
_READ = 2**20
"""Bytes of a frame that are read at once."""


class Readable(Protocol):
    """What a frame is read from: a :class:`~git_theta.source.Source` is one."""

    @property
    def size(self) -> int:
        """Bytes in it."""

    def read(self, offset: int, nbytes: int, /) -> bytes | memoryview:
        """Exactly so many bytes at an offset."""


class _Cut(Parts):
    """A frame, of which the parts that are kept are collected."""

    def __init__(self, frame: Readable) -> None:
        self.kept = bytearray()
        self._frame = frame
        self._data = memoryview(b"")
        self._begin = self._mark = self._at = 0

    def take(self, nbytes: int) -> bytes:
        """The next bytes; a PackError if there are none."""
        start = self._at - self._begin
        self.pass_over(nbytes)
        part = bytes(self._data[start : start + nbytes])
        self.kept += part
        return part

    def pass_over(self, nbytes: int) -> None:
        """Go on without keeping bytes; a PackError if there are none."""
        self._at += nbytes
        if self._at > self._begin + len(self._data):
            raise PackError(f"Expected {nbytes} bytes before {self._at}, found the frame's end")

    def mark(self) -> None:
        """Begin with a part that :meth:`marked` gives: a head, a block, or a checksum."""
        self._mark = self._at
        longest = min(self._at + 3 + LARGEST, self._frame.size)
        if longest > self._begin + len(self._data):
            self._begin = self._at
            nbytes = min(_READ, self._frame.size - self._at)
            self._data = memoryview(self._frame.read(self._at, nbytes))

    def marked(self) -> bytes:
        """All since the mark, kept or not."""
        return bytes(self._data[self._mark - self._begin : self._at - self._begin])

    def end(self, checksum: int) -> None:
        """Take a checksum of so many bytes; a PackError if others are left."""
        self.take(checksum)
        if self._at != self._frame.size:
            raise PackError(f"Expected a frame of {self._at} bytes, found {self._frame.size}")


def unfold(frame: Readable, write: Callable[[bytes], object]) -> bytes | None:
    """Decompress a frame, and prove that it can be written again.

    Memory does not grow with the frame; beside libzstd's window (32 MiB at most) and the recipe (32
    MiB at most, mostly below 0.1 % of the frame) a few MiB are held.

    Parameters
    ----------
    frame
        The frame, and nothing else.
    write
        Is given the content in order, at most 128 KiB at once.

    Returns
    -------
    bytes or None
        The recipe. None when the frame cannot be given back: it is malformed, has a longer window,
        needs a dictionary, is followed by something, or its encoder wrote literals otherwise than
        all do. What was written is to be discarded then.
    """
    cut = _Cut(frame)
    contents, nbytes = _contents(cut), 0
    while True:
        try:
            content = next(contents, None)
        except (PackError, zstandard.ZstdError):
            return None
        if content is None:
            return recipe_of(cut.kept, frame.size, nbytes)
        nbytes += len(content)
        if content:
            write(content)


def _contents(cut: _Cut) -> Iterator[bytes]:
    """The content of each block after it was proved."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()
    cut.mark()
    header = read_header(cut)
    decompressor.decompress(cut.marked())
    cut.mark()
    for block in read_blocks(cut):
        found = cut.marked()
        content = decompressor.decompress(found)
        if len(cut.kept) > LONGEST or block.written(content) != found:
            raise PackError("Expected the very block to be written again, found another")
        yield content
        cut.mark()
    cut.end(header.checksum)
    if header.checksum:
        decompressor.decompress(cut.marked())
    if not decompressor.eof:
        raise PackError("Expected a whole frame, found its end too early")
