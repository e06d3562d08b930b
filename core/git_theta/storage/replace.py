"""Puts new packs in the place of old ones, so that the store is valid at every moment.

The new packs come first. An old one goes only when everything in it is elsewhere, nothing that
stays stands on it, and nobody else has the store open.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Set
from graphlib import CycleError, TopologicalSorter

from git_theta.storage.folder import PackFolder
from git_theta.storage.index import Location
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import BufferId, Payload

PATIENCE = 60.0
"""Seconds that old packs are kept for others that have the store open."""


def replace_packs(
    store: LocalStore,
    old: Set[str],
    new: PackFolder,
    *,
    patience: float = PATIENCE,
) -> set[str]:
    """Move the packs of a folder on the store's disk into it, and remove the old ones.

    Gives those of the old packs that had to stay: somebody has the store open for longer than
    ``patience`` seconds, or stored something meanwhile that stands on them.

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
        staying = _needed(store, leaving, fresh)
        for pack in _dependents_first(store, leaving - staying):
            store.remove(pack)
    return staying


def _needed(store: LocalStore, leaving: Set[str], fresh: Set[str]) -> set[str]:
    """Those of the leaving packs that have something only they have, or that others stand on."""
    staying = {pack for pack in leaving if _has_unique(store, pack, leaving)}
    waiting = [*staying, *(store.packs.packs() - leaving - fresh - store.damaged.keys())]
    while waiting:
        for payload in _payloads(store, waiting.pop()):
            for located in _bases(store, payload):
                stays = [at for at in located if at.pack not in leaving or at.pack in staying]
                if located and not stays:
                    staying.add(located[0].pack)
                    waiting.append(located[0].pack)
    return staying


def _has_unique(store: LocalStore, pack: str, leaving: Collection[str]) -> bool:
    """Whether a pack holds a buffer that no pack holds which stays."""
    buffers = [buffer for *_, buffer in store.pack(pack).buffers()]
    located = store.find(buffers)
    return any(all(at.pack in leaving for at in located[buffer]) for buffer in buffers)


def _dependents_first(store: LocalStore, leaving: Set[str]) -> list[str]:
    """Packs in an order in which those go last that the others stand on."""
    sorter: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(sorted(leaving), ()))
    for pack in sorted(leaving):
        for payload in _payloads(store, pack):
            for located in _bases(store, payload):
                for base in {at.pack for at in located} & leaving - {pack}:
                    sorter.add(base, pack)
    try:
        return list(sorter.static_order())
    except CycleError:  # packs that stand on each other
        return sorted(leaving)


def _payloads(store: LocalStore, pack: str) -> Iterator[Payload]:
    opened = store.pack(pack)
    return (opened.payload(number) for number in range(len(opened)))


def _bases(store: LocalStore, payload: Payload) -> Iterator[list[Location]]:
    """Where each base of a payload can be read from, to decode it."""
    found: dict[BufferId, list[Location]] = store.find(payload.bases) if payload.bases else {}
    for base in payload.bases:
        yield [at for at in found.get(base, ()) if at.depth < payload.depth]
