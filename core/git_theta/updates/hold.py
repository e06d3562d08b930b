"""Numbers that are computed once and read several times: held in memory, or in a file if long."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from threading import RLock

import numpy as np

from git_theta.parallel import ordered_map
from git_theta.source import BytesSource, FileSource, Source
from git_theta.storage.folder import PackFolder

HELD = 48 * 2**20
"""Bytes of the longest run that is held in memory."""
MAX_HELD = 224 * 2**20
"""Bytes of all runs together that are held in memory; what is more goes to files."""
LONG = 8 * 2**20
"""Bytes from which on a run is computed on all cores: else one keeps all others waiting."""
STEP = 2**20


class _Memory:
    """What is held in memory by all together."""

    def __init__(self) -> None:
        self._nbytes = 0
        self._lock = RLock()  # what is given back may be found out at any moment

    def take(self, nbytes: int) -> bool:
        with self._lock:
            fits = self._nbytes + nbytes <= MAX_HELD
            self._nbytes += nbytes if fits else 0
            return fits

    def give_back(self, nbytes: int) -> None:
        with self._lock:
            self._nbytes -= nbytes


_memory = _Memory()


def hold(source: Source, folder: PackFolder) -> Source:
    """The bytes of a source, read once, in order.

    Raises
    ------
    OSError
        When a long one cannot be written to the folder's disk.
    StoreError
        When the folder cannot be written to at all.
    """
    if source.size > HELD or not _memory.take(source.size):
        return _InFile(source, folder)
    held = np.empty(source.size, np.uint8)
    weakref.finalize(held, _memory.give_back, source.size)
    at = 0
    for block in computed(source, STEP):
        held[at : at + len(block)] = np.frombuffer(block, np.uint8)
        at += len(block)
    return BytesSource(held.data)


def computed(source: Source, nbytes: int) -> Iterator[bytes | memoryview]:
    """All bytes of a source in order, ``nbytes`` at a time; those of a long one on all cores."""
    if source.size < LONG:
        return source.blocks(nbytes)
    starts = range(0, source.size, nbytes)
    return ordered_map(lambda at: source.read(at, min(nbytes, source.size - at)), starts)


class _InFile(FileSource):
    """Bytes in a file that has no name and goes when nobody reads it any more."""

    def __init__(self, source: Source, folder: PackFolder) -> None:
        path = folder.new_file()
        fd = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
        weakref.finalize(self, os.close, fd)
        path.unlink()
        for block in computed(source, 4 * STEP):
            view = memoryview(block)
            while view:
                view = view[os.write(fd, view) :]
        super().__init__(fd)
