"""What packs hold besides what pushed commits need: weights that go along without being asked for.

A pack is sent whole. One that was written by an add whose file was changed again before the commit,
or that a branch shares which is not pushed, has groups that no pushed commit uses.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from git_theta.errors import MetadataError, MissingPackError, PackError
from git_theta.git.repository import Repository
from git_theta.items import all_items
from git_theta.metadata import Metadata, parse
from git_theta.remotes.needs import Need, needs_of
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import BufferId, Payload


class Surplus(NamedTuple):
    """A pack that holds more than pushed commits need."""

    pack: str
    buffers: int
    """How many values of groups, or pieces of other data, no pushed commit uses."""
    nbytes: int
    """Bytes that these decode to."""


def find_surplus(
    repository: Repository,
    packs: Iterable[str],
    needs: Sequence[Need],
    tips: Sequence[str],
) -> list[Surplus]:
    """Which packs hold more than pushed commits need.

    Parameters
    ----------
    repository
        Where packs and metadata are.
    packs
        Names of local packs.
    needs
        What the push is about: mostly all that the packs are for.
    tips
        The pushed commits; their older history is looked at only where something is left.
    """
    packs, here = set(packs), repository.store.packs
    if _are_named(repository, packs, needs):
        return []
    left = _Left(repository.store, sorted(packs))
    seen: set[str] = set()
    for found in (needs, needs_of(repository, *tips) if tips else ()):
        for need in found if left.counts else ():
            # hints that name what is not here are out of date: it may lie in these packs now
            stale = not need.packs or here.missing(need.packs)
            if need.blob not in seen and (stale or need.packs.keys() & left.counts):
                seen.add(need.blob)
                left.take(_buffers(repository, need))
    return left.surplus()


def _are_named(repository: Repository, packs: set[str], needs: Iterable[Need]) -> bool:
    """Whether needs name all that packs hold, by what the index says: no pack is opened."""
    found: dict[str, set[tuple[int, int]]] = {pack: set() for pack in packs}
    before: set[BufferId] = set()
    for need in needs:
        if need.packs.keys().isdisjoint(packs):
            continue
        version = _metadata(repository, need)
        named = {buffer for buffer, _ in all_items(version)} if version else set()
        for places in repository.store.find(named - before).values():  # most stay as they were
            for place in places:
                if place.pack in found:
                    found[place.pack].add((place.payload, place.slot))
        before = named
    counts = repository.store.counts()
    return all(len(places) == counts.get(pack) for pack, places in found.items())


class _Held(NamedTuple):
    """A place of a buffer in one of the packs."""

    pack: str
    payload: Payload
    slot: int
    nbytes: int


class _Left:
    """The buffers of packs that nothing was found to use yet."""

    def __init__(self, store: LocalStore, packs: Iterable[str]) -> None:
        self._held: dict[BufferId, list[_Held]] = {}
        self.counts: Counter[str] = Counter()
        """How many are left, of the packs in which there are any."""
        for pack in packs:
            with contextlib.suppress(MissingPackError, PackError):  # who sends it says so
                opened = store.pack(pack)
                for number in range(len(opened)):
                    payload = opened.payload(number)
                    for slot, (buffer, nbytes) in enumerate(payload.buffers):
                        held = _Held(pack, payload, slot, nbytes)
                        self._held.setdefault(buffer, []).append(held)
                        self.counts[pack] += 1

    def take(self, buffers: Iterable[BufferId]) -> None:
        """Strike out what a version uses, and what that stands on."""
        waiting = list(buffers)
        while waiting:
            for held in self._held.pop(waiting.pop(), ()):
                waiting += held.payload.bases_of(held.slot)
                self.counts[held.pack] -= 1
                if not self.counts[held.pack]:
                    del self.counts[held.pack]

    def surplus(self) -> list[Surplus]:
        """What is left, by pack."""
        nbytes: Counter[str] = Counter()
        for places in self._held.values():
            for held in places:
                nbytes[held.pack] += held.nbytes
        return [Surplus(pack, self.counts[pack], nbytes[pack]) for pack in sorted(self.counts)]


def _buffers(repository: Repository, need: Need) -> set[BufferId]:
    """All buffers that a version is made of, as far as can be told."""
    metadata = _metadata(repository, need)
    if metadata is None:
        return set()
    found = {buffer for buffer, _ in all_items(metadata)}
    if metadata.skeleton.cuts:
        from git_theta.contents import read_contents  # numpy, and all plugins
        from git_theta.plugins import installed

        with contextlib.suppress(MetadataError, PackError):
            items = read_contents(metadata, need.path, store=repository.store, plugins=installed())
            found.update(item.buffer for item in items)
    return found


def _metadata(repository: Repository, need: Need) -> Metadata | None:
    text = repository.blob(need.blob).replace(b"\r\n", b"\n")
    try:
        return parse(text, need.path)
    except MetadataError:
        return None
