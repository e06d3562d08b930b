"""Files of the work tree that another version is about to replace.

git has a file compared with its metadata before it removes it. Most of what comes in its place is
the same, or stands on what the file has: so the file stays open until then.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from git_theta.errors import ThetaError
from git_theta.metadata import parse, parse_head
from git_theta.source import FileSource

if TYPE_CHECKING:
    from git_theta.git.received import Received
    from git_theta.source import Source
    from git_theta.storage.decode import AtHand
    from git_theta.storage.local import LocalStore
    from git_theta.storage.proven import Proven

KEPT = 64
"""Files that stay open at once; of more, they are the first."""


class Replaced:
    """Files that are open, each with its metadata; close it after use.

    Parameters
    ----------
    proven
        Texts that are true: what others say of the buffers of a file may be wrong.
    """

    def __init__(self, proven: Proven) -> None:
        self._proven = proven
        self._files: dict[str, tuple[bytes, int]] = {}

    def keep(self, path: str, text: bytes, received: Received) -> None:
        """Keep a file of which ``text`` may be the metadata; the caller may close it."""
        head, file = parse_head(text), (received.digest, received.source.size)
        if not head or (head.digest, head.nbytes) != file or text not in self._proven:
            return
        if len(self._files) < KEPT and path not in self._files:
            fd = received.duplicate()
            if fd is not None:
                self._files[path] = text, fd

    @contextmanager
    def buffers(self, path: str, store: LocalStore) -> Iterator[AtHand]:
        """What the file at ``path`` had, to be read until this ends; nothing if it was not kept."""
        if path not in self._files:
            yield {}
            return
        text, fd = self._files.pop(path)
        try:
            yield _buffers(text, FileSource(fd), path, store)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Close all files."""
        for _, fd in self._files.values():
            os.close(fd)
        self._files.clear()


def _buffers(text: bytes, file: Source, path: str, store: LocalStore) -> AtHand:
    from git_theta.at_hand import buffers_in
    from git_theta.plugins import installed
    from git_theta.skeleton import Origin

    with suppress(ThetaError):  # what is amiss with the old version is for fsck to tell
        return buffers_in(file, Origin(parse(text, path), path, store, installed()))
    return {}
