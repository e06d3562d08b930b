"""Rewrites a store into fewer bytes: every buffer is stored anew, in the order of history.

``git add`` knows what is at hand at that time: where a base was not known yet, a version is stored
for more than it need be. Here all of it is at hand. No metadata changes by it, since a buffer is
found by its digest wherever it lies.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from git_theta.errors import StoreError
from git_theta.plugins import Plugins
from git_theta.rewrite import Rewriter, Version
from git_theta.storage.chain import Ways
from git_theta.storage.combine import combine
from git_theta.storage.folder import PackFolder
from git_theta.storage.local import LocalStore
from git_theta.storage.lock import FileLock
from git_theta.storage.payload import BufferId
from git_theta.storage.replace import PATIENCE, replace_packs, stored_buffers


class Garbage(Protocol):
    """Tells what of a store nobody needs any more."""

    def packs(self) -> set[str]:
        """Packs that are old enough for what no version refers to in them to go."""

    def referenced(self) -> set[BufferId]:
        """The buffers that versions refer to."""


@dataclass(frozen=True, slots=True)
class Repacked:
    """What repacking did, or would do."""

    versions: int
    """Versions of files that were looked at."""
    packs_before: int
    bytes_before: int
    packs_after: int
    bytes_after: int
    changed: bool
    """Whether the store is another one now, or would be."""
    left: int = 0
    """Old packs that are still there, because somebody has the store open."""
    incomplete: int = 0
    """Packs that stay as they are: what they hold stands on what is not here."""


def repack(
    store: LocalStore,
    plugins: Plugins,
    versions: Sequence[Version],
    *,
    dense: bool = False,
    dry_run: bool = False,
    patience: float = PATIENCE,
    garbage: Garbage | None = None,
    least: float = 0.0,
    advance: Callable[[int], None] = lambda _: None,
) -> Repacked:
    """Store everything anew, and replace the packs if that takes fewer bytes.

    Parameters
    ----------
    store
        What to rewrite. A pack that holds a difference to what is not here, as of what was pruned
        or fetched in part, stays as it is.
    plugins
        Where update types are found.
    versions
        The history, the oldest first.
    dense
        Every buffer by itself, nothing in terms of another; even where that takes more bytes.
    dry_run
        Only find out what it would give.
    patience
        Seconds to wait for others that have the store open, before old packs are left to the next
        time.
    garbage
        What of it goes that no version refers to; None: nothing.
    least
        What share of its bytes must be saved for it: new packs are sent anew by the next push.
    advance
        Told how many bytes were stored anew.

    Raises
    ------
    PackError, MissingPackError, MissingPluginError
        When something that lies in the store cannot be read; nothing has changed then.
    StoreError
        When the disk is full, or the store is being repacked already.
    """
    with _working(store) as folder:
        store.refresh()
        for fault in store.damaged.values():
            raise fault
        incomplete = _incomplete(store)
        old = store.packs.packs() - incomplete
        expired = garbage.packs() & old if garbage else set()
        with LocalStore(folder) as written:
            rewriter = Rewriter(store, written, plugins, advance, dense=dense)
            for version in versions:
                rewriter.add_version(version)
            rewriter.add_rest(old - expired)
            new = PackFolder(folder / "new")
            combine((written.pack(pack) for pack in rewriter.packs), new)
        before, after = _nbytes(store.packs, old), _nbytes(new, new.packs())
        changed = new.packs() != old and (dense or after < (1 - least) * before)
        counts = len(versions), len(old), before, len(new.packs()), after
        left = set()
        if changed and not dry_run:
            needed = partial(_needed, store, garbage, expired) if garbage else None
            left = replace_packs(store, old, new, patience=patience, needed=needed)
        return Repacked(*counts, changed, len(left), len(incomplete))


def _incomplete(store: LocalStore) -> set[str]:
    """Packs that hold what cannot be read here, because it stands on what is not here."""
    buffers = stored_buffers(store)
    lost = buffers.keys() - Ways(store).find(list(buffers)).keys()
    return {pack for buffer in lost for pack in buffers[buffer]}


def _needed(store: LocalStore, garbage: Garbage, expired: Set[str]) -> list[BufferId]:
    """What must be readable once the old packs are gone, found out when nobody can add to it."""
    going = expired & garbage.packs()
    kept = (buffer for buffer, packs in stored_buffers(store).items() if not packs <= going)
    return list(dict.fromkeys([*garbage.referenced(), *kept]))


@contextmanager
def _working(store: LocalStore) -> Iterator[Path]:
    """A folder on the store's disk that goes at the end, for one process at a time."""
    folder, lock = store.folder / "repack", FileLock(store.folder / "repack.lock")
    try:
        if not lock.alone():
            raise StoreError(
                f"The store {store.folder} is being repacked by another process, or its disk "
                "cannot lock files",
                remedy="Wait until the other git theta repack is done",
            )
        shutil.rmtree(folder, ignore_errors=True)  # what a killed one left
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as fault:
        raise StoreError(
            f"Cannot repack the store {store.folder}: {fault}",
            remedy="Free some space (or mend the disk), then run git theta repack again",
        ) from fault
    finally:
        lock.close()


def _nbytes(folder: PackFolder, packs: set[str]) -> int:
    return sum(folder.path(pack).stat().st_size for pack in packs)
