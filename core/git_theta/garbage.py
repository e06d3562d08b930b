"""What of a local store nobody needs: what killed processes left, and what no version refers to.

As with git's own objects, only what is old enough goes: a file that is being added right now has
been stored before anything refers to it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from git_theta.contents import read_contents
from git_theta.errors import MetadataError, PackError, ThetaError
from git_theta.git import run
from git_theta.git.history import all_metadata
from git_theta.git.repository import Repository
from git_theta.metadata import parse
from git_theta.plugins import installed
from git_theta.storage.payload import BufferId

EXPIRE = "gc.pruneExpire"
"""The variable of git's configuration that says how old garbage must be."""
DEFAULT_EXPIRE = "2.weeks.ago"
"""Its value where nobody set it, as git has it."""


def expiry(value: str | None = None) -> float:
    """The time before which something must have been touched last to go, in seconds.

    Parameters
    ----------
    value
        As ``gc.pruneExpire`` has it: ``2.weeks.ago``, ``now``, ``never``; None: what that says.
    """
    said = value or run.text("config", "--get", EXPIRE, ok=(0, 1)) or DEFAULT_EXPIRE
    if said in ("never", "false"):
        return 0.0
    if said in ("now", "all"):
        return time.time() + 1
    return float(run.text("rev-parse", f"--since={said}").removeprefix("--max-age="))


class Unreferenced:
    """What no ref, reflog or index of a repository needs of its store; see ``repack.Garbage``."""

    def __init__(self, repository: Repository, before: float) -> None:
        self.unread: dict[str, ThetaError] = {}
        """Blobs of metadata that cannot be read here, and why: what they need is not known."""
        self._repository, self._before = repository, before
        self._seen: set[str] = set()
        self._referenced: set[BufferId] = set()

    def packs(self) -> set[str]:
        """Packs that were stored, or named by what was added, longer ago.

        None while metadata cannot be read: a later git-theta may have written it.
        """
        self.referenced()
        if self.unread:
            return set()
        packs = self._repository.store.packs
        return {pack for pack in packs.packs() if _touched(packs.path(pack)) < self._before}

    def referenced(self) -> set[BufferId]:
        """The buffers that versions refer to, those that came since the last time included."""
        store = self._repository.store
        for path, oid, text in all_metadata(self._repository):
            if oid in self._seen:
                continue
            self._seen.add(oid)
            try:
                metadata = parse(text.replace(b"\r\n", b"\n"), path)
                items = read_contents(metadata, path, store=store, plugins=installed())
            except (MetadataError, PackError) as fault:
                self.unread[oid] = fault
                continue
            self._referenced.update(item.buffer for item in items)
        return self._referenced


def leftovers(repository: Repository, before: float) -> Iterator[Path]:
    """Files that killed processes left behind, and that nobody wrote to since a time."""
    packs = repository.store.packs
    for folder in (packs.temporary, repository.folder / "theta" / "tmp"):
        for root, _, names in os.walk(folder):
            for name in names:
                path = Path(root, name)
                if _touched(path) < before:
                    yield path


def sweep(
    repository: Repository, before: float, told: Callable[[Path, int], None], *, dry_run: bool
) -> None:
    """Remove leftovers and folders that are empty then; each is told, with its bytes."""
    for path in list(leftovers(repository, before)):
        with contextlib.suppress(OSError):
            nbytes = path.stat().st_size
            if not dry_run:
                path.unlink()
                with contextlib.suppress(OSError):  # not empty, or in use
                    if path.parent.name != "tmp":
                        path.parent.rmdir()
            told(path, nbytes)


def _touched(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # gone meanwhile: none of our business
        return float("inf")
