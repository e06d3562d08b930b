"""Numbers that are computed once and read several times: held in memory, or in a file if long."""

from __future__ import annotations

import os
import weakref

import numpy as np

from git_theta.source import BytesSource, FileSource, Source
from git_theta.storage.folder import PackFolder

HELD = 48 * 2**20
"""Bytes of the longest run that is held in memory."""
STEP = 2**20


def hold(source: Source, folder: PackFolder) -> Source:
    """The bytes of a source, read once, in order.

    Raises
    ------
    OSError
        When a long one cannot be written to the folder's disk.
    StoreError
        When the folder cannot be written to at all.
    """
    if source.size > HELD:
        return _InFile(source, folder)
    held = np.empty(source.size, np.uint8)
    at = 0
    for block in source.blocks(STEP):
        held[at : at + len(block)] = np.frombuffer(block, np.uint8)
        at += len(block)
    return BytesSource(held.data)


class _InFile(FileSource):
    """Bytes in a file that has no name and goes when nobody reads it any more."""

    def __init__(self, source: Source, folder: PackFolder) -> None:
        path = folder.new_file()
        fd = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
        weakref.finalize(self, os.close, fd)
        path.unlink()
        for block in source.blocks(4 * STEP):
            view = memoryview(block)
            while view:
                view = view[os.write(fd, view) :]
        super().__init__(fd)
