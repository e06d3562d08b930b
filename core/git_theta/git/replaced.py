"""Files of the work tree that another version is about to replace.

git has a file compared with its metadata before it removes it, unless its time vouches for it. Most
of what comes in its place is the same, or stands on what the file has: so it stays open until then.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from git_theta.errors import ThetaError
from git_theta.metadata import parse, parse_head
from git_theta.source import FileSource

if TYPE_CHECKING:
    from git_theta.git.received import Received, Stamp
    from git_theta.source import Source
    from git_theta.storage.decode import AtHand
    from git_theta.storage.local import LocalStore
    from git_theta.storage.proven import Proven

KEPT = 64
"""Files that stay open at once; of more, they are the first."""
TEXTS = 32 * 2**20
"""Bytes of their metadata that are held."""
SHARE = 4
"""One of so many descriptors that a process may have is theirs."""


class _Kept(NamedTuple):
    """A file that is open."""

    text: bytes
    """Its metadata."""
    fd: int
    stamp: Stamp
    """From when it was compared."""


class Replaced:
    """Files that are open, each with its metadata; close it after use.

    Parameters
    ----------
    proven
        Texts that are true: what others say of the buffers of a file may be wrong.
    """

    def __init__(self, proven: Proven) -> None:
        self._proven = proven
        self._files: dict[str, _Kept] = {}

    def keep(self, path: str, text: bytes, received: Received) -> None:
        """Keep a file of which ``text`` may be the metadata; the caller may close it.

        It takes the place of what the path had before.
        """
        head, file = parse_head(text), (received.digest, received.source.size)
        if not head or (head.digest, head.nbytes) != file or text not in self._proven:
            return
        self._forget(path)
        held = sum(len(kept.text) for kept in self._files.values())
        if len(self._files) < _most() and held + len(text) <= TEXTS:
            opened = received.duplicate()
            if opened:
                self._files[path] = _Kept(text, *opened)

    @contextmanager
    def buffers(self, path: str, store: LocalStore) -> Iterator[AtHand]:
        """What the file at ``path`` had, to be read until this ends.

        Nothing if it was not kept, or if somebody has written to it since.
        """
        kept = self._files.pop(path, None)
        if kept is None:
            yield {}
            return
        try:
            unwritten = kept.stamp.unwritten(kept.fd)
            yield _buffers(kept.text, FileSource(kept.fd), path, store) if unwritten else {}
        finally:
            os.close(kept.fd)

    def close(self) -> None:
        """Close all files."""
        for path in list(self._files):
            self._forget(path)

    def _forget(self, path: str) -> None:
        kept = self._files.pop(path, None)
        if kept:
            os.close(kept.fd)


def _most() -> int:
    """Files that may stay open: few where a process may open few."""
    allowed = os.sysconf("SC_OPEN_MAX")
    return min(KEPT, allowed // SHARE) if allowed > 0 else KEPT


def _buffers(text: bytes, file: Source, path: str, store: LocalStore) -> AtHand:
    from git_theta.at_hand import buffers_in
    from git_theta.plugins import installed
    from git_theta.skeleton import Origin

    with suppress(ThetaError):  # what is amiss with the old version is for fsck to tell
        return buffers_in(file, Origin(parse(text, path), path, store, installed()))
    return {}
