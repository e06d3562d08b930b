"""The local store's index: which pack, and which payload in it, holds a buffer.

A cache in SQLite that can be rebuilt from the packs, so it is written without waiting for the
disk. The rollback journal rather than WAL, so that a store may lie on a network disk. Where a store
may only be read, what is missing is indexed in memory instead, for as long as a process runs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from git_theta.errors import StoreError
from git_theta.storage.payload import BufferId

Item = TypeVar("Item")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS packs (number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL);
CREATE TABLE IF NOT EXISTS buffers (
    digest BLOB NOT NULL, dtype TEXT NOT NULL, pack INTEGER NOT NULL,
    payload INTEGER NOT NULL, slot INTEGER NOT NULL, depth INTEGER NOT NULL,
    PRIMARY KEY (digest, dtype, pack, payload)
) WITHOUT ROWID;
PRAGMA user_version = 1;
"""
_WAIT = 60.0  # seconds that a writer waits for another one


Entry = tuple[int, int, int, BufferId]
"""A buffer of a pack: number of its payload, slot in it, depth, identity."""


_DAMAGED = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def is_damaged(fault: sqlite3.Error) -> bool:
    """Whether an error says that the index is not what it was: no full disk, no lock."""
    return getattr(fault, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def is_full(fault: Exception) -> bool:
    """Whether an error says that the disk took no more."""
    code = getattr(fault, "sqlite_errorcode", 0) & 0xFF
    return isinstance(fault, OSError) or code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


_UNWRITABLE = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}


def is_unwritable(fault: sqlite3.Error) -> bool:
    """Whether an error says that the index may only be read, or cannot be made."""
    return getattr(fault, "sqlite_errorcode", 0) & 0xFF in _UNWRITABLE


class Location(NamedTuple):
    """Where a buffer lies."""

    pack: str
    """Name of the pack."""
    payload: int
    """Number of the payload in the pack."""
    slot: int
    """Which of the payload's buffers it is."""
    depth: int
    """Payloads to read to decode it."""


class Index:
    """The index of one local store; in memory where the store may only be read and has none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.in_memory = False
        try:
            self._connect()
        except sqlite3.DatabaseError:  # not a database: rebuild what is only a cache
            path.unlink(missing_ok=True)
            self._connect()

    def _connect(self) -> None:
        try:
            self._open(str(self._path))
        except sqlite3.OperationalError as fault:
            if not is_unwritable(fault):
                raise StoreError(f"Cannot open the store's index {self._path}: {fault}") from fault
            self.move_to_memory()

    def _open(self, name: str) -> None:
        self._db = sqlite3.connect(
            name, timeout=_WAIT, isolation_level=None, check_same_thread=False
        )
        self._db.execute("PRAGMA synchronous = OFF")
        if self._db.execute("PRAGMA user_version").fetchone() != (1,):
            self._db.executescript(_SCHEMA)

    def move_to_memory(self) -> None:
        """Begin anew with an empty index that is gone with this process."""
        self._open(":memory:")
        self.in_memory = True

    def after_fork(self) -> None:
        """Connect anew: connections to a file do not survive a fork, not even to be closed."""
        if not self.in_memory:
            self._inherited = self._db
            self._connect()

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def recreate(self) -> None:
        """Begin anew with an empty index."""
        self._db.close()
        for suffix in ("", "-journal"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        self._connect()

    def packs(self) -> set[str]:
        """Names of the packs that are indexed."""
        return {row[0] for row in self._db.execute("SELECT id FROM packs")}

    def empty(self) -> bool:
        """Whether no buffer is indexed."""
        return self._db.execute("SELECT 1 FROM buffers LIMIT 1").fetchone() is None

    def add(self, pack: str, buffers: Iterable[Entry]) -> None:
        """Index all buffers of a pack, or none of them."""
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO packs (id) VALUES (?)", (pack,))
            (number,) = self._db.execute(
                "SELECT number FROM packs WHERE id = ?", (pack,)
            ).fetchone()
            for batch in _batches(buffers, 50):  # a row each would take longer than SQLite does
                rows = ", ".join(["(?, ?, ?, ?, ?, ?)"] * len(batch))
                self._db.execute(
                    f"INSERT OR IGNORE INTO buffers VALUES {rows}",
                    [
                        value
                        for payload, slot, depth, (dtype, digest) in batch
                        for value in (digest, dtype, number, payload, slot, depth)
                    ],
                )

    def remove(self, pack: str) -> None:
        """Forget a pack and its buffers."""
        with self._transaction():
            where = "SELECT number FROM packs WHERE id = ?"
            self._db.execute(f"DELETE FROM buffers WHERE pack = ({where})", (pack,))
            self._db.execute("DELETE FROM packs WHERE id = ?", (pack,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Have all of it written, or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # where the disk is full SQLite has ended it already
                self._db.execute("ROLLBACK")
            raise

    def find(self, buffers: Iterable[BufferId]) -> dict[BufferId, list[Location]]:
        """Where buffers lie, those that are read with the fewest payloads first."""
        found: dict[BufferId, list[Location]] = {}
        packs = dict(self._db.execute("SELECT number, id FROM packs"))
        for batch in _batches(buffers, 500):
            marks = ", ".join("?" * len(batch))
            rows = self._db.execute(
                "SELECT dtype, digest, pack, payload, slot, depth FROM buffers "
                f"WHERE digest IN ({marks})",
                [identity.digest for identity in batch],
            )
            for dtype, digest, pack, payload, slot, depth in rows:
                location = Location(packs[pack], payload, slot, depth)
                found.setdefault(BufferId(dtype, digest), []).append(location)
        for locations in found.values():
            if len(locations) > 1:
                locations.sort(key=lambda at: (at.depth, at.pack, at.payload))
        return found


def _batches(items: Iterable[Item], size: int) -> Iterator[Sequence[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
