"""Which metadata has been found true: a file was made of it, or was read to write it.

Whether text describes the file whose digest it names depends on nothing but the text, so it needs
to be found out once. Only a cache: what is not in it is looked at again. Packs are another matter.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import blake3

_NBYTES = 32


class Proven:
    """A file of digests of texts, in no order; several processes may add to it at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: set[bytes] | None = None

    def __contains__(self, text: bytes) -> bool:
        return blake3.blake3(text).digest() in self._read()

    def add(self, text: bytes) -> None:
        """Remember a text; where that cannot be written down, this process alone does."""
        digest, found = blake3.blake3(text).digest(), self._read()
        if digest in found:
            return
        found.add(digest)
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            whole = not self._path.exists() or self._path.stat().st_size % _NBYTES == 0
            with self._path.open("ab" if whole else "wb", buffering=0) as file:
                file.write(digest)  # one short write in append mode: no other lands inside

    def _read(self) -> set[bytes]:
        if self._found is None:
            try:
                data = self._path.read_bytes()
            except OSError:
                data = b""
            self._found = {data[at : at + _NBYTES] for at in range(0, len(data), _NBYTES)}
        return self._found
