"""Reads a file once more, to find out whether somebody wrote to it meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import blake3

from git_theta.errors import CheckpointError
from git_theta.source import Source

_BLOCK = 8 * 2**20


class Rereading:
    """Reads a source in a thread, to find out whether it still has a digest."""

    def __init__(self, source: Source, digest: bytes) -> None:
        self._source, self._digest = source, digest
        self._same: bool | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def result(self) -> bool | None:
        """Whether it has; None where it could not be read."""
        self._thread.join()
        return self._same

    def stop(self) -> None:
        """Read no more of it."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        with suppress(OSError):  # who wants to know reads it again, and tells
            self._same = has_digest(self._source, self._digest, self._look)

    def _look(self, _: int) -> None:
        if self._stopped.is_set():
            raise InterruptedError


def has_digest(
    source: Source, digest: bytes, advance: Callable[[int], None] = lambda _: None
) -> bool:
    """Whether a source has the bytes that a BLAKE3 was computed from, and is as long."""
    try:
        return digest_source(source, advance) == digest
    except CheckpointError:  # it became shorter
        return False


def digest_source(source: Source, advance: Callable[[int], None] = lambda _: None) -> bytes:
    """BLAKE3 of a source, on all cores: blocks are long enough to share out."""
    hasher = blake3.blake3(max_threads=blake3.blake3.AUTO)
    for block in source.blocks(_BLOCK):
        hasher.update(block)
        advance(len(block))
    return hasher.digest()
