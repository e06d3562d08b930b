"""Memory that a forked process shares with its parent: what it hands over takes no pipe.

A pipe copies all of it twice, a page at a time, and its writer waits for the reader. It is left for
what a process gives when it is far ahead of its parent: that must not wait here, since the parent
may want something else of it first.
"""

from __future__ import annotations

import mmap
import os
import struct
from contextlib import suppress

COUNT = 8
"""Slots of a process: what it may be ahead of its parent."""

_MESSAGE = struct.Struct("<BQ")  # number of a slot, bytes in it


class Slots:
    """Slots of ``nbytes`` bytes each; made before the fork, then each side uses its half."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self._mapped = mmap.mmap(-1, COUNT * nbytes)
        self._memory = memoryview(self._mapped)
        self._free = list(range(COUNT))
        self._returned, self._giver = os.pipe()
        os.set_blocking(self._returned, False)

    def put(self, data: bytes | memoryview) -> bytes | None:
        """Put data into a slot; gives what tells the parent of it. None where no slot is free."""
        with suppress(BlockingIOError):
            self._free += os.read(self._returned, COUNT)
        if not self._free or len(data) > self.nbytes:
            return None
        slot = self._free.pop()  # the one that was used last: its pages are there
        self._memory[slot * self.nbytes :][: len(data)] = data
        return _MESSAGE.pack(slot, len(data))

    def view(self, message: bytes | bytearray | memoryview) -> memoryview:
        """What a process told of, until it is given back."""
        slot, nbytes = _MESSAGE.unpack(message)
        return self._memory[slot * self.nbytes :][:nbytes]

    def give_back(self, message: bytes | bytearray | memoryview) -> None:
        """Let the process use a slot again."""
        with suppress(BrokenPipeError):  # it ended, which is noticed elsewhere
            os.write(self._giver, message[:1])

    def end_parent(self) -> None:
        """Close the end that is the parent's."""
        os.close(self._giver)

    def end_child(self) -> None:
        """Close the end that is the child's."""
        os.close(self._returned)

    def release(self) -> None:
        """Let go of the memory, where nobody holds a view of it."""
        self._memory.release()
        with suppress(BufferError):
            self._mapped.close()
