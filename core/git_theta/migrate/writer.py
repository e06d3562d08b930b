"""New objects for git, gathered in a pack and handed over at the end, all at once.

Before that git knows nothing of them, so a migration that is interrupted leaves nothing in git. The
format of packs: gitformat-pack(5); ``git index-pack`` checks what we wrote.
"""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from git_theta.errors import GitError

_KINDS = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}
_HEADER = struct.Struct(">4sII")
_LEVEL = 1  # of what is large: weights hardly shrink, and git packs anew anyway
_BLOCK = 2**20


class NewObjects:
    """A pack that grows; ``algorithm`` is that of git's names, ``sha1`` or ``sha256``."""

    def __init__(self, path: Path, algorithm: str) -> None:
        self._algorithm = algorithm
        self._file = path.open("w+b")
        self._file.write(_HEADER.pack(b"PACK", 2, 0))
        self._at: dict[str, int] = {}

    def __enter__(self) -> NewObjects:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __contains__(self, oid: str) -> bool:
        return oid in self._at

    def __len__(self) -> int:
        return len(self._at)

    def add(self, kind: str, data: bytes) -> str:
        """Add an object; gives its name."""
        return self.add_blocks(kind, len(data), (data,))

    def add_blocks(self, kind: str, size: int, blocks: Iterable[bytes | memoryview]) -> str:
        """Add an object of so many bytes that comes in blocks; gives its name."""
        start = self._file.seek(0, os.SEEK_END)
        hasher = hashlib.new(self._algorithm, f"{kind} {size}\0".encode(), usedforsecurity=False)
        self._file.write(_entry_header(_KINDS[kind], size))
        packer = zlib.compressobj(_LEVEL)
        given = 0
        for block in blocks:
            hasher.update(block)
            given += len(block)
            self._file.write(packer.compress(block))
        self._file.write(packer.flush())
        self._file.flush()
        if given != size:
            raise GitError(f"Expected a {kind} of {size} bytes, found {given}")
        oid = hasher.hexdigest()
        if oid in self._at:
            self._file.truncate(start)
        else:
            self._at[oid] = start
        return oid

    def read(self, oid: str) -> bytes:
        """The content of an object that was added.

        A forked process may ask as well: it shares the file, and where we are in it stays.
        """
        fd, at = self._file.fileno(), self._at[oid]
        while os.pread(fd, 1, at)[0] & 0x80:
            at += 1
        at += 1
        unpacker = zlib.decompressobj()
        parts = []
        while not unpacker.eof:
            data = os.pread(fd, _BLOCK, at)
            parts.append(unpacker.decompress(data))
            at += len(data)
        return b"".join(parts)

    def hand_over(self) -> None:
        """Give all objects to git.

        Raises
        ------
        GitError
            When git does not take them.
        """
        if not self._at:
            return
        process = subprocess.Popen(
            ["git", "index-pack", "--stdin"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
        )
        assert process.stdin
        try:
            for block in self._pack():
                process.stdin.write(block)
        except BrokenPipeError:
            pass  # its exit code and its words say why
        _, said = process.communicate()
        if process.returncode:
            raise GitError(
                f"git index-pack failed: {said.decode(errors='replace').strip()}",
                remedy="Nothing has changed; free some space, or see what git says",
            )

    def _pack(self) -> Iterator[bytes]:
        self._file.flush()
        hasher = hashlib.new(self._algorithm, usedforsecurity=False)
        header = _HEADER.pack(b"PACK", 2, len(self._at))
        hasher.update(header)
        yield header
        self._file.seek(_HEADER.size)
        while block := self._file.read(_BLOCK):
            hasher.update(block)
            yield block
        yield hasher.digest()


def _entry_header(kind: int, size: int) -> bytes:
    """Type and length of an object, as a pack has them: 4 bits, then 7 at a time."""
    out = bytearray([kind << 4 | size & 15])
    size >>= 4
    while size:
        out[-1] |= 0x80
        out.append(size & 0x7F)
        size >>= 7
    return bytes(out)
