"""A frame of zstd that is made again, of its recipe and of the numbers that it holds."""

from __future__ import annotations

from collections.abc import Iterator

from git_theta.errors import PackError
from git_theta.source import BLOCK, Source

AHEAD = 2 * 2**20
"""Bytes of numbers that are read at once: whole blocks of what they are stored in, mostly."""


class Folded(Source):
    """The bytes of a frame; made from its start whenever any of them is read, best as blocks."""

    def __init__(self, recipe: Source, numbers: Source, nbytes: int) -> None:
        self.size = nbytes
        self._recipe, self._numbers = recipe, numbers

    def _read(self, offset: int, nbytes: int) -> bytes:
        found, at, end = [], 0, offset + nbytes
        for block in self.blocks():
            found.append(block[max(offset - at, 0) : max(end - at, 0)])
            at += len(block)
            if end <= at and end < self.size:
                break
        return b"".join(found)

    def blocks(self, nbytes: int = BLOCK) -> Iterator[bytes]:
        """All bytes in order, in blocks of any length.

        Raises
        ------
        PackError
            When recipe and numbers do not belong together.
        """
        from git_theta.frames import fold  # which few files need

        numbers, left = _Ahead(self._numbers), self.size
        for block in fold(self._recipe.read(0, self._recipe.size), numbers.read):
            left -= len(block)
            if left < 0:
                break
            yield block
        if left or numbers.left:
            raise PackError(f"Expected a frame of zstd of {self.size} bytes, found another one")


class _Ahead:
    """Reads a source in order, more of it at once than is asked for."""

    def __init__(self, source: Source) -> None:
        self._source, self._at = source, 0
        self._held = memoryview(b"")

    @property
    def left(self) -> int:
        """Bytes that were not given yet."""
        return self._source.size - self._at + len(self._held)

    def read(self, nbytes: int) -> bytes | memoryview:
        """The next bytes; PackError where there are not so many."""
        if nbytes > self.left:
            raise PackError(f"Expected {nbytes} bytes of numbers, found {self.left}")
        if nbytes > len(self._held):
            more = min(max(AHEAD, nbytes - len(self._held)), self._source.size - self._at)
            data = self._source.read(self._at, more)
            self._at += more
            self._held = memoryview(b"".join((self._held, data)) if self._held else data).cast("B")
        given, self._held = self._held[:nbytes], self._held[nbytes:]
        return given
