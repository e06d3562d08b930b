"""Takes packs out of a store, so that it is valid at every moment: what could be read still can.

New packs, if there are any, come first. An old one goes only when everything that must stay can be
read well without it, and nobody else has the store open.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Set

from git_theta.storage.chain import Spot, Step, Ways
from git_theta.storage.folder import PackFolder
from git_theta.storage.index import Location
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import MAX_DEPTH, BufferId

PATIENCE = 60.0
"""Seconds that old packs are kept for others that have the store open."""


def replace_packs(
    store: LocalStore,
    old: Set[str],
    new: PackFolder,
    *,
    patience: float = PATIENCE,
    needed: Callable[[], Collection[BufferId]] | None = None,
) -> set[str]:
    """Move the packs of a folder on the store's disk into it, and remove the old ones.

    Gives those of the old packs that had to stay: somebody has the store open for longer than
    ``patience`` seconds, or stored something meanwhile that stands on them.

    Parameters
    ----------
    store
        From which they are removed.
    old
        The packs to remove.
    new
        The packs to move there.
    patience
        Seconds to wait for others that have the store open.
    needed
        Tells what must be readable afterwards, asked once nobody else has the store open; None:
        all that the store holds.

    Raises
    ------
    PackError
        When a pack is damaged.
    OSError
        When the disk fails.
    """
    fresh = new.packs()
    for pack in sorted(fresh):
        store.packs.adopt(new.path(pack), pack)
    store.refresh()
    leaving = set(old - fresh)
    with store.alone(patience) as alone:
        if not alone:
            return leaving
        store.refresh()
        staying = needed_of(store, leaving, needed() if needed else stored_buffers(store))
        for pack in sorted(leaving - staying):
            store.remove(pack)
    return staying


def stored_buffers(store: LocalStore) -> dict[BufferId, set[str]]:
    """Every buffer that a store holds, and in which packs; damaged packs are left aside."""
    found: dict[BufferId, set[str]] = {}
    for pack in sorted(store.packs.packs() - store.damaged.keys()):
        for *_, buffer in store.pack(pack).buffers():
            found.setdefault(buffer, set()).add(pack)
    return found


def needed_of(store: LocalStore, leaving: Set[str], buffers: Collection[BufferId]) -> set[str]:
    """Those of the leaving packs without which some of the buffers could not be read well.

    Well means: in as few payloads and bytes as a writer may make it take, if that is so now.

    Raises
    ------
    PackError
        When a pack is damaged.
    """
    before, staying = Ways(store), set[str]()
    now = before.find(buffers)
    while True:
        after = Ways(store, without=leaving - staying)
        later = after.find(now)
        missed: set[str] = set()
        for buffer, location in now.items():
            if not _serves(after, later.get(buffer), before, location):
                missed |= {pack for pack, *_ in before.chain(location)} & leaving
        if missed <= staying:
            return staying
        staying |= missed


def _serves(after: Ways, later: Location | None, before: Ways, now: Location) -> bool:
    """Whether a buffer is read as well as is asked for, or as before."""
    if later is None:
        return False
    if later == now and now.depth == 1:
        return True
    return _is_short(after.chain(later)) or not _is_short(before.chain(now))


def _is_short(chain: Mapping[Spot, Step]) -> bool:
    if len(chain) == 1:
        return True
    payload, slot = next(iter(chain.values()))
    nbytes = payload.buffers[slot][1]
    read = sum(step.nbytes for step in chain.values())
    return len(chain) <= MAX_DEPTH and read <= 2 * nbytes + 4096
