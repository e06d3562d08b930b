"""Open files, few at a time: a checkpoint's packs may be more than a process may open.

Only for files that never change, which packs are: a file that was closed meanwhile is opened again.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from git_theta.source import FileSource, Source

MAX_OPEN = 64
"""Files that are kept open while nobody reads them."""


class _Handles:
    """Descriptors by path, those that were used last at the end; with how many readers each."""

    def __init__(self) -> None:
        self._files: OrderedDict[Path, tuple[int, int]] = OrderedDict()
        self._lock = Lock()

    @contextmanager
    def borrow(self, path: Path) -> Iterator[int]:
        with self._lock:
            fd, readers = self._files.pop(path, (-1, 0))
            if fd < 0:
                fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            self._files[path] = fd, readers + 1
            self._close_idle()
        try:
            yield fd
        finally:
            with self._lock:
                fd, readers = self._files[path]
                self._files[path] = fd, readers - 1

    def _close_idle(self) -> None:
        surplus = len(self._files) - MAX_OPEN
        idle = [path for path, (_, readers) in self._files.items() if not readers]
        for path in idle[: max(surplus, 0)]:
            os.close(self._files.pop(path)[0])

    def forget(self, path: Path) -> None:
        with self._lock:
            fd, readers = self._files.get(path, (-1, 1))
            if not readers:
                del self._files[path]
                os.close(fd)


_handles = _Handles()


class SharedFile(Source):
    """A file that never changes, opened when it is read.

    Raises
    ------
    OSError
        When there is no such file, or it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _handles.borrow(path) as fd:
            self.size = os.fstat(fd).st_size

    def _read(self, offset: int, nbytes: int) -> bytes | memoryview:
        with _handles.borrow(self._path) as fd:
            return FileSource(fd).read(offset, nbytes)

    def close(self) -> None:
        """Close the file if nobody reads it."""
        _handles.forget(self._path)
