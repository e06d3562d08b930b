"""Random access to bytes, wherever they lie: a file, memory, a part of another source.

Everything that is read (checkpoints, buffers, payloads) is a :class:`Source`, so that memory does
not grow with what is read, and containers nest: a window of a source is a source.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator

from git_theta.errors import CheckpointError

BLOCK = 4 * 2**20
"""Bytes that are read at once where nothing else says how many."""


class Source(ABC):
    """Bytes of a known size that can be read at any offset, from several threads at once."""

    size: int
    """Bytes in the source."""

    @abstractmethod
    def _read(self, offset: int, nbytes: int) -> bytes | memoryview:
        """Read exactly ``nbytes`` bytes at ``offset``; the range was checked to lie inside."""

    def read(self, offset: int, nbytes: int) -> bytes | memoryview:
        """Read ``nbytes`` bytes at ``offset``.

        Raises
        ------
        CheckpointError
            When the range is not inside the source: sizes and offsets come from files.
        """
        if offset < 0 or nbytes < 0 or offset + nbytes > self.size:
            raise CheckpointError(
                f"Expected {nbytes} bytes at offset {offset}, found a source of {self.size} bytes"
            )
        return self._read(offset, nbytes) if nbytes else b""

    def window(self, offset: int, nbytes: int) -> Source:
        """A part of this source as a source of its own; errors as in :meth:`read`."""
        if offset < 0 or nbytes < 0 or offset + nbytes > self.size:
            raise CheckpointError(
                f"Expected {nbytes} bytes at offset {offset}, found a source of {self.size} bytes"
            )
        return Window(self, offset, nbytes)

    def joined(self, after: Source) -> Source | None:
        """This source and ``after`` as one, if that is just a longer window; else None."""
        return None

    def blocks(self, nbytes: int = BLOCK) -> Iterator[bytes | memoryview]:
        """All bytes in order, ``nbytes`` at a time."""
        for offset in range(0, self.size, nbytes):
            yield self._read(offset, min(nbytes, self.size - offset))


class Window(Source):
    """A part of another source."""

    _parent: Source
    _offset: int

    def __init__(self, parent: Source, offset: int, nbytes: int) -> None:
        if isinstance(parent, Window):  # a window of a window reads the outermost one directly
            offset += parent._offset
            parent = parent._parent
        self._parent, self._offset, self.size = parent, offset, nbytes

    def _read(self, offset: int, nbytes: int) -> bytes | memoryview:
        return self._parent._read(self._offset + offset, nbytes)

    def joined(self, after: Source) -> Source | None:
        """A longer window, if ``after`` is one that begins where this ends."""
        if (
            isinstance(after, Window)
            and after._parent is self._parent
            and after._offset == self._offset + self.size
        ):
            return Window(self._parent, self._offset, self.size + after.size)
        return None


class BytesSource(Source):
    """Bytes in memory."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = memoryview(data).cast("B") if len(data) else memoryview(b"")
        self.size = len(self._data)

    def _read(self, offset: int, nbytes: int) -> memoryview:
        return self._data[offset : offset + nbytes]


class FileSource(Source):
    """An open file, read with ``pread`` so that no mapped page counts as our memory.

    The descriptor belongs to the caller, who closes it after the last read.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.size = os.fstat(fd).st_size

    def _read(self, offset: int, nbytes: int) -> bytes:
        data = os.pread(self._fd, nbytes, offset)
        if len(data) == nbytes:
            return data
        parts = [data]  # a read beyond 2 GiB, or a signal, may come back short
        missing = nbytes - len(data)
        while missing and parts[-1]:
            parts.append(os.pread(self._fd, missing, offset + nbytes - missing))
            missing -= len(parts[-1])
        if missing:
            raise CheckpointError(
                f"Expected {nbytes} bytes at offset {offset}, found {nbytes - missing}: "
                "the file became shorter while it was read"
            )
        return b"".join(parts)
