"""Packs in an SQLite file, cut into rows of a megabyte."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from git_theta.errors import MissingPackError, PackError, StoreError
from git_theta.storage.interface import Advance, Store, StoreType, unwatched

ROW = 2**20
"""Bytes of a pack that one row holds."""


class DatabaseType(StoreType):
    """Opens ``toy:///path/to/file.db``."""

    scheme = "toy"

    def open(self, url: str) -> Database:
        """Open the file, which need not exist yet."""
        found = re.fullmatch(r"toy://(/[^?#]+)", url)
        if not found or not Path(found[1]).parent.is_dir():
            raise StoreError(f"Expected toy:///path/to/file.db in a folder, found {url}")
        return Database(Path(found[1]))


class Database(Store):
    """Packs in one SQLite file; every call has a connection of its own, so threads may call."""

    def __init__(self, file: Path) -> None:
        self._file = file
        with closing(self._connect()) as db:
            db.execute(
                "CREATE TABLE IF NOT EXISTS rows (pack, number, data, UNIQUE (pack, number))"
            )

    def missing(self, packs: Iterable[str]) -> set[str]:
        """Those of ``packs`` that have no row."""
        asked = {_checked(pack) for pack in packs}
        with closing(self._connect()) as db:
            return asked - {row[0] for row in db.execute("SELECT DISTINCT pack FROM rows")}

    def put(self, packs: Mapping[str, Path], advance: Advance = unwatched) -> None:
        """Insert all rows of a pack in one transaction, pack by pack."""
        wanted = self.missing(packs)
        with closing(self._connect()) as db:
            for pack in wanted:
                _insert(db, pack, packs[pack])
                advance(packs[pack].stat().st_size)

    def get(
        self, packs: Mapping[str, Path], sizes: Mapping[str, int], advance: Advance = unwatched
    ) -> None:
        """Write the rows of packs to files."""
        if lacking := self.missing(packs):
            raise MissingPackError(f"The store {self._file} has no pack {min(lacking)}")
        with closing(self._connect()) as db:
            for pack, file in packs.items():
                if not _extract(db, pack, file):
                    file.unlink()
                    raise PackError(f"Expected pack {pack} in {self._file}, found other content")
                advance(file.stat().st_size)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._file, timeout=60, isolation_level=None)


def _insert(db: sqlite3.Connection, pack: str, file: Path) -> None:
    with file.open("rb") as content:
        if hashlib.file_digest(content, "sha256").hexdigest() != pack:
            raise PackError(f"Expected the file {file} to be pack {pack}, found other content")
        content.seek(0)
        rows = enumerate(iter(lambda: content.read(ROW), b""))
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT OR IGNORE INTO rows VALUES (?, -1, x'')", (pack,))
        db.executemany(
            "INSERT OR IGNORE INTO rows VALUES (?, ?, ?)", ((pack, n, row) for n, row in rows)
        )
        db.execute("COMMIT")


def _extract(db: sqlite3.Connection, pack: str, file: Path) -> bool:
    """Write a pack to a file; whether it is what its name says."""
    digest = hashlib.sha256()
    with file.open("wb") as out:
        query = "SELECT data FROM rows WHERE pack = ? ORDER BY number"
        for (row,) in db.execute(query, (pack,)):
            digest.update(row)
            out.write(row)
    return digest.hexdigest() == pack


def _checked(pack: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", pack):
        raise StoreError(f"Expected 64 hex digits, found {pack!r}")
    return pack
