"""Progress on stderr for work that takes longer than two seconds, on a terminal only."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from git_theta.human import human_size

PATIENCE = 2.0
"""Seconds before anything is shown."""

_INTERVAL = 0.1


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[float], None]]:
    """Show how far a piece of work is; gives the function that is told how many bytes were done."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    bar = _Bar(what, total)
    try:
        yield bar.advance
    finally:
        bar.clear()


class _Bar:
    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, max(total, 1)
        self._done = 0.0
        self._start = self._shown = time.monotonic()
        self._visible = False
        self._lock = Lock()

    def advance(self, nbytes: float) -> None:
        with self._lock:
            self._done += nbytes
            now = time.monotonic()
            if now - self._start < PATIENCE or now - self._shown < _INTERVAL:
                return
            self._shown, self._visible = now, True
            done = min(self._done, self._total)
            speed = human_size(int(self._done / (now - self._start)))
            share = f"{int(100 * done / self._total)}% of {human_size(self._total)}"
            print(f"\r{self._what}: {share}, {speed}/s\x1b[K", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._visible:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
