"""Locks that processes of one machine hold on a store; the system lets go of them for the killed.

Where a file system knows no locks, nobody is kept from anything, and nobody gets to be alone.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

USERS = "users.lock"
"""The file in a local store's folder that is locked by whoever has it open."""
_STEP = 0.05  # seconds between two looks at whether the others are done


class FileLock:
    """A lock on a file, which is created if need be and stays empty."""

    def __init__(self, path: Path) -> None:
        self._fd, self._shared = -1, False
        for flags in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):  # a store may be read-only
            with contextlib.suppress(OSError):
                self._fd = os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o666)
                return

    def close(self) -> None:
        """Let go of it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def share(self) -> None:
        """Hold it along with others; waits while somebody has it alone."""
        self._shared = True
        self._try("LOCK_SH")

    def alone(self, patience: float = 0.0) -> bool:
        """Whether nobody else holds it, within so many seconds; then nobody gets it from now on.

        Otherwise it is held along with others, if it was.
        """
        end = time.monotonic() + patience
        while not self._try("LOCK_EX", "LOCK_NB"):
            ended = time.monotonic() >= end
            if self._shared:  # who is refused holds none any more: flock(2)
                self._try("LOCK_SH", *([] if ended else ["LOCK_NB"]))
            if ended:
                return False
            time.sleep(_STEP)
        return True

    def _try(self, *names: str) -> bool:
        try:
            import fcntl

            operation = 0
            for name in names:
                operation |= getattr(fcntl, name)
            fcntl.flock(self._fd, operation)
        except (ImportError, OSError, ValueError):  # ValueError: there is no file
            return False
        return True
