"""Keeps what comes in blocks, so that it can be read at any offset: in memory, or on disk."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from git_theta.errors import StoreError
from git_theta.source import BytesSource, FileSource, Source

IN_MEMORY = 8 * 2**20
"""Bytes that are kept in memory, of all together; what is more goes into files without a name."""


class Spool:
    """Sources that last until it is closed; ``folder`` is where files are made."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._open = folder, ExitStack()
        self._left = IN_MEMORY

    def close(self) -> None:
        """Let go of all sources."""
        self._open.close()

    def adopt(self, fd: int) -> Source:
        """An open file as a source; closed with the others."""
        self._open.callback(os.close, fd)
        return FileSource(fd)

    def keep(self, blocks: Iterable[bytes | memoryview], nbytes: int) -> Source:
        """Bytes that come in blocks, ``nbytes`` together; each is used before the next is taken.

        Raises
        ------
        StoreError
            When they cannot be written.
        """
        if nbytes <= self._left:
            self._left -= nbytes
            return BytesSource(b"".join(map(bytes, blocks)))  # one is gone when the next comes
        import tempfile  # seldom needed, and git waits for what is imported

        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            out = self._open.enter_context(
                tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
            )
            for block in blocks:
                view = memoryview(block)
                while view:
                    view = view[out.write(view) :]
        except OSError as fault:
            raise StoreError(
                f"Cannot keep {nbytes} bytes aside in {self._folder}: {fault}",
                remedy="Free some space (or mend the disk), then run the command again",
            ) from fault
        return FileSource(out.fileno())
