"""Takes packs out of the local store that a remote has, and that nothing here needs at hand.

Nothing is lost by it: a pack goes only if a store said a moment ago that it has that very pack, and
only if all of history can still be fetched. Whatever needs it again fetches it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from git_theta.errors import MissingPackError, PackError, StoreError, ThetaError
from git_theta.git.repository import Repository
from git_theta.git.store_folder import others
from git_theta.remotes.acknowledged import Acknowledged
from git_theta.remotes.config import identity, open_store, store_url
from git_theta.remotes.keep import EVERYTHING, kept_needs, local_packs
from git_theta.remotes.needs import needs_of
from git_theta.storage.folder import PackFolder
from git_theta.storage.interface import Store
from git_theta.storage.lock import USERS
from git_theta.storage.replace import PATIENCE


@dataclass(slots=True)
class Pruned:
    """What pruning did, or would do; packs by name with their bytes."""

    removed: dict[str, int] = field(default_factory=dict)
    needed: dict[str, int] = field(default_factory=dict)
    """Packs that stay because something here needs them."""
    only_here: dict[str, int] = field(default_factory=dict)
    """Packs that nothing here needs, and that no remote has."""
    damaged: dict[str, int] = field(default_factory=dict)
    """Packs that a remote has, but not whole."""
    faults: dict[str, str] = field(default_factory=dict)
    """Remotes that could not be asked, and why."""
    busy: bool = False
    """Whether nothing was removed because another process uses the store."""


def prune(
    repository: Repository,
    remotes: Sequence[str],
    *,
    days: int,
    verify: bool = False,
    dry_run: bool = False,
    patience: float = PATIENCE,
    advance: Callable[[int], None] = lambda _: None,
) -> Pruned:
    """Remove the packs that remotes have and that nothing here needs.

    Parameters
    ----------
    repository
        Whose local store is pruned.
    remotes
        The git remotes whose stores count, in the order in which they are asked.
    days
        Versions in commits of so many days stay.
    verify
        Whether to fetch every pack and look whether it is whole, before it is removed.
    dry_run
        Only tell what would be removed.
    patience
        Seconds to wait for others that have the store open.
    advance
        Told how many bytes were verified.

    Raises
    ------
    StoreError
        When no remote's store can be asked, or other repositories share the local store.
    """
    _refuse_shared(repository)
    done = Pruned()
    sizes = _sizes(repository)
    needed = _needed(repository, days)
    asked = dict(_history(repository)) | {p: n for p, n in sizes.items() if p not in needed}
    there = _ask(repository, remotes, asked, done)
    needed |= _stranded(repository, there.keys() | sizes.keys())
    leaving: dict[str, int] = {}
    for pack, nbytes in sorted(sizes.items()):
        fate = done.needed if pack in needed else leaving if pack in there else done.only_here
        fate[pack] = nbytes
    if verify:
        _verify(leaving, there, done, advance)
    if dry_run:
        done.removed = leaving
    elif leaving:
        _remove(repository, leaving, done, days, patience)
    return done


def _refuse_shared(repository: Repository) -> None:
    store = repository.store.folder
    sharing = others(store, repository.folder)
    if sharing:
        listed = "".join(f"\n  {name}" for name in sharing)
        raise StoreError(
            f"The store {store} is shared by other repositories, which may need packs that "
            f"this one does not need:{listed}",
            remedy=f"Nothing was removed. If they are gone, remove {store / 'users'}",
        )


def _remove(
    repository: Repository, leaving: Mapping[str, int], done: Pruned, days: int, patience: float
) -> None:
    """Remove packs, but those that what was added or checked out meanwhile needs."""
    with repository.store.alone(patience) as alone:
        done.busy = not alone
        if alone:
            still = _needed(repository, days)
            for pack, nbytes in leaving.items():
                (done.needed if pack in still else done.removed)[pack] = nbytes
            for pack in done.removed:
                repository.store.remove(pack)


def _sizes(repository: Repository) -> dict[str, int]:
    """Names and bytes of the local packs; those that are damaged are left to fsck."""
    packs = repository.store.packs
    names = packs.packs() - repository.store.damaged.keys()
    return {pack: packs.path(pack).stat().st_size for pack in names}


def _needed(repository: Repository, days: int) -> set[str]:
    """The local packs that must stay."""
    seen: set[str] = set()
    found: set[str] = set()
    for need in kept_needs(repository, days):
        if need.blob not in seen:
            seen.add(need.blob)
            found |= local_packs(repository, need).keys()
    return found


def _history(repository: Repository) -> Iterable[tuple[str, int]]:
    """All packs that hints of all of history name."""
    return ((p, n) for need in needs_of(repository, *EVERYTHING) for p, n in need.packs.items())


def _ask(
    repository: Repository, remotes: Sequence[str], packs: Mapping[str, int], done: Pruned
) -> dict[str, Store]:
    """Which packs remotes' stores have, and which of them; what each said is recorded."""
    found: dict[str, Store] = {}
    asked: set[str] = set()
    for remote in remotes:
        try:
            url = store_url(remote)
            if url in asked:
                continue
            asked.add(url)
            store = open_store(remote)
            _check_apart(store)
            missing = store.missing(packs)
            record = Acknowledged(repository.folder / "theta" / "remotes", identity(remote))
            record.discard(missing)
            record.add(packs.keys() - missing)
        except ThetaError as fault:
            done.faults[remote] = str(fault)
            continue
        for pack in packs.keys() - missing:
            found.setdefault(pack, store)
    if len(done.faults) == len(remotes):
        said = "".join(f"\n{remote}: {fault}" for remote, fault in done.faults.items())
        raise StoreError(
            f"Expected a remote that has packs, none could be asked{said or ': there is none'}",
            remedy="Nothing was removed. git theta remote list tells the stores of all remotes",
        )
    return found


def _check_apart(store: Store) -> None:
    """Refuse to count on packs in a local store, ours or another clone's: that is pruned, too.

    Raises
    ------
    StoreError
        When the store is one.
    """
    if isinstance(store, PackFolder) and (store.folder.parent / USERS).exists():
        raise StoreError(
            f"{store.folder} is the local store of a repository, which may be pruned as well",
            remedy="Use a folder that is nobody's local store: git theta remote add NAME FOLDER",
        )


def _stranded(repository: Repository, reachable: Collection[str]) -> set[str]:
    """Local packs of versions whose hints name packs that are nowhere any more: repacked ones."""
    return {
        pack
        for need in needs_of(repository, *EVERYTHING)
        if not need.packs or need.packs.keys() - reachable
        for pack in local_packs(repository, need)
    }


def _verify(
    leaving: dict[str, int],
    there: Mapping[str, Store],
    done: Pruned,
    advance: Callable[[int], None],
) -> None:
    """Fetch each pack to see that it is whole; those that are not leave no more."""
    with tempfile.TemporaryDirectory(prefix="git-theta-") as folder:
        for pack in list(leaving):
            file = Path(folder, pack)
            try:
                there[pack].get({pack: file}, {pack: leaving[pack]}, advance)
                file.unlink()
            except (MissingPackError, PackError):
                done.damaged[pack] = leaving.pop(pack)
