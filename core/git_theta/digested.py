"""A file of which stretches were digested: what is read of them a second time is compared.

Short runs are digested one by one, which takes longer than to read them. That they are still the
same when they are stored is found out with one digest for many.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache

import blake3

from git_theta.errors import FileChangedError
from git_theta.source import Source

STRETCH = 2**16
"""About how many bytes are compared at a time."""
_HELD = 256  # stretches: in another order than the file's, several are read in turn


class Digested(Source):
    """The stretches of a file that :meth:`add` was told of; nothing else of it can be read."""

    def __init__(self, file: Source) -> None:
        self.size = file.size
        self._file = file
        self._starts: list[int] = []
        self._stretches: list[tuple[int, bytes]] = []
        self._stretch = lru_cache(_HELD)(self._read_stretch)

    def add(self, start: int, nbytes: int, digest: bytes) -> None:
        """Take note of a stretch and its BLAKE3; stretches are added in file order."""
        self._starts.append(start)
        self._stretches.append((nbytes, digest))

    def _read(self, offset: int, nbytes: int) -> bytes | memoryview:
        number, pieces = bisect_right(self._starts, offset) - 1, []
        while nbytes:
            at = offset - self._starts[number]
            piece = self._stretch(number)[at : at + nbytes] if at >= 0 else b""
            if not piece:
                raise LookupError(f"Byte {offset} of the file was not digested")
            pieces.append(piece)
            offset, nbytes, number = offset + len(piece), nbytes - len(piece), number + 1
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_stretch(self, number: int) -> memoryview:
        start, (nbytes, digest) = self._starts[number], self._stretches[number]
        data = memoryview(self._file.read(start, nbytes))
        if blake3.blake3(data).digest() != digest:
            raise FileChangedError(
                f"Bytes {start} to {start + nbytes} are others than a moment ago: "
                "the file was written to while it was being added",
                remedy="Run git add again once nothing writes to the file",
            )
        return data
