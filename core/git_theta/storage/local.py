"""The local store: the packs of one repository, in ``theta/`` of its git folder."""

from __future__ import annotations

import sqlite3
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, RLock
from typing import TypeVar

from git_theta.errors import MissingPackError, PackError, StoreError
from git_theta.storage.folder import PackFolder
from git_theta.storage.index import Entry, Index, Location, is_damaged, is_full, is_unwritable
from git_theta.storage.lock import USERS, FileLock
from git_theta.storage.pack import Pack
from git_theta.storage.payload import BufferId

Result = TypeVar("Result")

OPEN_PACKS = 64
"""Of how many packs the directories are kept."""


class LocalStore:
    """Packs and their index; safe to use from several threads and several processes at once.

    Packs that lie in the folder without being indexed (another process wrote them, or this one
    was killed before it could) are indexed when the store is opened. As long as it is open no other
    process takes a pack away.
    """

    def __init__(self, folder: Path, *, flushes: Callable[[], bool] = lambda: True) -> None:
        self.folder = folder
        self.flushes = flushes
        """Whether a pack that is added must survive a power cut at once."""
        self.packs = PackFolder(folder / "objects")
        try:
            self.packs.folder.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise StoreError(f"Cannot create the store {folder}: {fault}") from fault
        self._users = FileLock(folder / USERS)
        self._users.share()
        self.index = Index(folder / "index.sqlite")
        self.damaged: dict[str, PackError] = {}
        """Packs that could not be indexed, by name."""
        self._unindexed: list[tuple[str, list[Entry]]] = []
        self._open: OrderedDict[str, Pack] = OrderedDict()
        self._lock = Lock()
        self._index_lock = RLock()
        self.refresh()

    def __enter__(self) -> LocalStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all files."""
        self.flush()
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()
        self.index.close()
        self._users.close()

    @contextmanager
    def alone(self, patience: float) -> Iterator[bool]:
        """Whether nobody else has the store open, within so many seconds; nobody can meanwhile."""
        try:
            yield self._users.alone(patience)
        finally:
            self._users.share()

    def after_fork(self) -> None:
        """Open anew what a forked process must not share with its parent."""
        self.index.after_fork()

    def refresh(self) -> None:
        """Make the index agree with the packs that lie in the folder."""
        self._with_index(self._index_packs)

    def _index_packs(self) -> None:
        self._write_unindexed()
        indexed, present = self.index.packs(), self.packs.packs()
        for pack in indexed - present:
            self.index.remove(pack)
        for pack in sorted(present - indexed):
            try:
                self.index.add(pack, self.pack(pack).buffers())
            except PackError as fault:
                self.damaged[pack] = fault

    def rebuild(self) -> None:
        """Throw the index away and index every pack anew."""
        self.damaged.clear()
        self._with_index(self._rebuild)

    def _rebuild(self) -> None:
        for pack in self.index.packs():
            self.index.remove(pack)
        self._index_packs()

    def pack(self, pack: str) -> Pack:
        """A pack.

        Raises
        ------
        MissingPackError
            When the store does not have it.
        """
        with self._lock:
            found = self._open.pop(pack, None)
            if found is None:
                try:
                    found = Pack(self.packs.path(pack))
                except FileNotFoundError as fault:
                    raise MissingPackError(
                        f"Pack {pack} is not in the store {self.folder}",
                        remedy="Copy it from another clone's store, then run git theta fsck",
                    ) from fault
                except OSError as fault:
                    raise StoreError(f"Cannot read pack {pack}: {fault}") from fault
            self._open[pack] = found
            if len(self._open) > OPEN_PACKS:
                self._open.popitem(last=False)
            return found

    def add(self, pack: str, buffers: list[Entry]) -> None:
        """Take a pack that lies in the folder now into the index, at the latest when it is asked.

        So the answer to git need not wait for it: a pack that was never indexed, because the
        process was killed, is indexed when the store is opened the next time.
        """
        self.forget(pack)  # it was damaged, else nothing would have been stored again
        self._unindexed.append((pack, buffers))

    def forget(self, pack: str) -> None:
        """Look at a pack's file anew when it is needed next: it is another one now."""
        with self._lock:
            before = self._open.pop(pack, None)
        if before is not None:
            before.close()
        self.damaged.pop(pack, None)

    def remove(self, pack: str) -> None:
        """Take a pack away, which only who is :meth:`alone` with the store may."""
        self.forget(pack)
        self.packs.delete(pack)
        self._with_index(lambda: self.index.remove(pack))

    def flush(self) -> None:
        """Write to the index what :meth:`add` left for later."""
        if self._unindexed:
            self._with_index(self._write_unindexed)

    def _write_unindexed(self) -> None:
        while self._unindexed:
            self.index.add(*self._unindexed[0])
            self._unindexed.pop(0)

    def find(self, buffers: Iterable[BufferId]) -> dict[BufferId, list[Location]]:
        """Where buffers lie; those that the store does not have are left out."""
        self.flush()
        wanted = list(buffers)
        return self._with_index(lambda: {} if self.index.empty() else self.index.find(wanted))

    def counts(self) -> dict[str, int]:
        """How many places for buffers each pack has, by what the index says."""
        self.flush()
        return self._with_index(self.index.counts)

    def _with_index(self, work: Callable[[], Result]) -> Result:
        """Work with the index; one that is damaged, or only readable, is made anew."""
        try:
            with self._index_lock:
                try:
                    return work()
                except sqlite3.Error as fault:
                    if is_unwritable(fault) and not self.index.in_memory:
                        self.index.move_to_memory()
                    elif is_damaged(fault):
                        self.index.recreate()
                    else:
                        raise
                self._index_packs()
                return work()
        except (sqlite3.Error, OSError) as fault:
            mend = f"Remove {self.folder / 'index.sqlite'}; it is rebuilt from the packs"
            raise StoreError(
                f"The index of the store {self.folder} cannot be used: {fault}",
                remedy="Free some space, then try again" if is_full(fault) else mend,
            ) from fault

    def warn_damaged(self) -> None:
        """Tell on stderr about packs that could not be indexed."""
        for fault in self.damaged.values():
            print(f"git-theta: warning: {fault}", file=sys.stderr)
