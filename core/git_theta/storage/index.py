"""The local store's index: which pack, and which payload in it, holds a buffer.

A cache in SQLite that can be rebuilt from the packs, so it is written without waiting for the
disk. The rollback journal rather than WAL, so that a store may lie on a network disk. A buffer is
known by 64 bits of its digest: who reads a pack compares all of it with the pack's own directory.
Where a store may only be read, what is missing is indexed in memory, as long as a process runs.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from git_theta.dtypes import BITS
from git_theta.errors import StoreError
from git_theta.storage.payload import BufferId

Item = TypeVar("Item")

_VERSION = 2
_SCHEMA = (
    "DROP TABLE IF EXISTS packs",
    "DROP TABLE IF EXISTS buffers",
    "CREATE TABLE packs (number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL)",
    """CREATE TABLE buffers (
        key INTEGER NOT NULL, pack INTEGER NOT NULL, payload INTEGER NOT NULL,
        slot INTEGER NOT NULL, depth INTEGER NOT NULL,
        PRIMARY KEY (key, pack, payload, slot)
    ) WITHOUT ROWID""",
    f"PRAGMA user_version = {_VERSION}",
)
_PAGE = 1024  # bytes: an add of a few buffers grows the file by a few pages
# whoever puts a dtype between others raises _VERSION
_DTYPES = {dtype: number << 56 for number, dtype in enumerate(BITS)}
_read_key = struct.Struct("<q").unpack_from
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


_PLACE = "key, pack, CAST(payload AS INTEGER), CAST(slot AS INTEGER), CAST(depth AS INTEGER)"
"""A row, of numbers whatever a damaged file has there; who reads a pack sees whether they fit."""


class Index:
    """The index of one local store; in memory where the store may only be read and has none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.in_memory = False
        try:
            self._connect()
        except sqlite3.DatabaseError:  # not a database: rebuild what is only a cache
            self.recreate()

    def _connect(self) -> None:
        with suppress(OSError):  # SQLite would make it for one user, whatever the umask
            os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o666))
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
        self._db.execute(f"PRAGMA page_size = {_PAGE}")
        self._db.execute("PRAGMA synchronous = OFF")
        if self._version() != _VERSION:
            self._begin_anew()

    def move_to_memory(self) -> None:
        """Begin anew with an empty index that is gone with this process."""
        self._open(":memory:")
        self.in_memory = True

    def _version(self) -> int:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        return int(version)

    def _begin_anew(self) -> None:
        """Make the tables, unless another process did meanwhile."""
        with self._transaction():
            for statement in _SCHEMA if self._version() != _VERSION else ():
                self._db.execute(statement)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Write all or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # where the disk is full SQLite has ended it already
                self._db.execute("ROLLBACK")
            raise

    def after_fork(self) -> None:
        """Connect anew: connections to a file do not survive a fork, not even to be closed."""
        if not self.in_memory:
            self._inherited = self._db
            self._connect()

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def recreate(self) -> None:
        """Begin anew with an empty index; in memory where the damaged one cannot be removed."""
        self._db.close()
        try:
            for suffix in ("", "-journal"):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        except OSError:
            self.move_to_memory()
        else:
            self._connect()

    def packs(self) -> set[str]:
        """Names of the packs that are indexed."""
        return {row[0] for row in self._db.execute("SELECT id FROM packs")}

    def empty(self) -> bool:
        """Whether no buffer is indexed."""
        return self._db.execute("SELECT 1 FROM buffers LIMIT 1").fetchone() is None

    def counts(self) -> dict[str, int]:
        """How many places for buffers each pack has."""
        counted = "SELECT pack, count(*) AS places FROM buffers GROUP BY pack"
        return dict(
            self._db.execute(f"SELECT id, places FROM packs, ({counted}) WHERE number = pack")
        )

    def add(self, pack: str, buffers: Iterable[Entry]) -> None:
        """Index all buffers of a pack, or none of them."""
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO packs (id) VALUES (?)", (pack,))
            (number,) = self._db.execute(
                "SELECT number FROM packs WHERE id = ?", (pack,)
            ).fetchone()
            rows = [
                (_key(identity), number, payload, slot, depth)
                for payload, slot, depth, identity in buffers
            ]
            rows.sort()  # pages are filled one after another
            for batch in _batches(rows, 190):  # SQLite took 999 values at most until 3.32
                marks = ", ".join(["(?, ?, ?, ?, ?)"] * len(batch))
                self._db.execute(
                    f"INSERT OR IGNORE INTO buffers VALUES {marks}",
                    tuple(chain.from_iterable(batch)),
                )

    def remove(self, pack: str) -> None:
        """Forget a pack and its buffers."""
        with self._transaction():
            where = "SELECT number FROM packs WHERE id = ?"
            self._db.execute(f"DELETE FROM buffers WHERE pack = ({where})", (pack,))
            self._db.execute("DELETE FROM packs WHERE id = ?", (pack,))

    def find(self, buffers: Iterable[BufferId]) -> dict[BufferId, list[Location]]:
        """Where buffers should lie, those that are read with the fewest payloads first."""
        places: dict[int, list[Location]] = {}
        packs = dict(self._db.execute("SELECT number, id FROM packs"))
        wanted = {identity: _key(identity) for identity in buffers}
        for batch in _batches(wanted.values(), 500):
            marks = ", ".join("?" * len(batch))
            rows = self._db.execute(f"SELECT {_PLACE} FROM buffers WHERE key IN ({marks})", batch)
            for key, number, payload, slot, depth in rows:
                if pack := packs.get(number):  # else another process has only just indexed it
                    places.setdefault(key, []).append(Location(pack, payload, slot, depth))
        for locations in places.values():
            if len(locations) > 1:
                locations.sort(key=lambda at: (at.depth, at.pack, at.payload))
        return {identity: places[key] for identity, key in wanted.items() if key in places}


def _key(identity: BufferId) -> int:
    """64 bits of a buffer's identity, as SQLite's signed integer."""
    dtype, digest = identity
    (key,) = _read_key(digest)
    return int(key) ^ _DTYPES[dtype]


def _batches(items: Iterable[Item], size: int) -> Iterator[Sequence[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
