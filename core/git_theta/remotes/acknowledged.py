"""Which packs a store has acknowledged: what this repository has seen it take, or give.

A record, not a proof: somebody else may have deleted them there since. Who is about to delete the
last copy here asks the store itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

from git_theta.errors import StoreError
from git_theta.git.permissions import umask

_LINE = re.compile(rb"[0-9a-f]{64}\n")
_LINE_BYTES = 65


class Acknowledged:
    """The packs that one store has acknowledged.

    Parameters
    ----------
    folder
        Where the records lie, ``theta/remotes`` in git's folder.
    url
        The store; of one that is named by a git remote, where that remote points to as well.
    """

    def __init__(self, folder: Path, url: str) -> None:
        name = hashlib.sha256(os.fsencode(url)).hexdigest()[:32]
        self.path = folder / name
        self._history = folder / f"{name}.history"
        self._packs: set[str] | None = None

    @property
    def has_history(self) -> bool:
        """Whether all of a history has been sent to the store, or found there, from here."""
        return self._history.exists()

    def add_history(self) -> None:
        """Record that the store has all packs of a history.

        Raises
        ------
        StoreError
            When the record cannot be written.
        """
        if self.has_history:
            return
        try:
            self._history.parent.mkdir(parents=True, exist_ok=True)
            self._history.touch()
        except OSError as fault:
            raise _not_written(self._history, fault) from fault

    @property
    def packs(self) -> set[str]:
        """Names of all of them, as they were when first asked for."""
        if self._packs is None:
            self._packs = _read(self.path)
        return self._packs

    def __contains__(self, pack: object) -> bool:
        return pack in self.packs

    def add(self, packs: Iterable[str]) -> None:
        """Record packs; several processes may at once.

        Raises
        ------
        StoreError
            When the record cannot be written.
        """
        new = sorted(set(packs) - self.packs)
        if not new:
            return
        text = "".join(f"{pack}\n" for pack in new).encode()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                if os.fstat(fd).st_size % _LINE_BYTES:  # somebody was killed while writing
                    text = b"\n" + text
                os.write(fd, text)
            finally:
                os.close(fd)
        except OSError as fault:
            raise _not_written(self.path, fault) from fault
        self.packs.update(new)

    def discard(self, packs: Iterable[str]) -> None:
        """Forget packs that the store turned out not to have.

        Raises
        ------
        StoreError
            When the record cannot be written.
        """
        gone = set(packs)
        self._packs = _read(self.path)
        if not gone & self._packs:
            return
        self._packs -= gone
        try:
            fd, name = tempfile.mkstemp(prefix=f"{self.path.name}.", dir=self.path.parent)
            with os.fdopen(fd, "wb") as out:
                os.fchmod(fd, 0o666 & ~umask())
                out.write("".join(f"{pack}\n" for pack in sorted(self._packs)).encode())
            os.replace(name, self.path)
        except OSError as fault:
            with contextlib.suppress(OSError, UnboundLocalError):
                os.unlink(name)
            raise _not_written(self.path, fault) from fault


def _read(path: Path) -> set[str]:
    """The packs in a record; half a line, of a process that was killed, is none."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return set()
    except OSError as fault:
        raise StoreError(f"Cannot read what a store has acknowledged, {path}: {fault}") from fault
    return {line[:64].decode() for line in lines if _LINE.fullmatch(line)}


def _not_written(path: Path, fault: OSError) -> StoreError:
    return StoreError(
        f"Cannot record what a store has acknowledged in {path}: {fault}",
        remedy="Free some space (or mend the disk), then run the command again",
    )
