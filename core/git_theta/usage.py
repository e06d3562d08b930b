"""What versions of files cost: their own bytes against those of the payloads they are read from.

Only metadata and the directories of packs are looked at; no weights are decoded.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from git_theta.contents import Item, read_contents
from git_theta.errors import PackError
from git_theta.items import item_name
from git_theta.metadata import Metadata
from git_theta.plugins import Plugins
from git_theta.storage.chain import Key, Ways
from git_theta.storage.index import Location
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import BufferId, Payload


class Cost(NamedTuple):
    """What a payload is, as far as sizes go."""

    update: str
    """Name of the update type."""
    depth: int
    logical: int
    """Bytes that it decodes to."""
    stored: int


class Place(NamedTuple):
    """Where a buffer of a version is read from."""

    item: Item
    key: Key
    reads: frozenset[Key]
    """All payloads that are read to decode it."""
    nbytes: int
    """Stored bytes that are read to decode it: of a bundle, those of the block that holds it."""

    def share(self, cost: Cost) -> int:
        """Its part of the stored bytes of its payload, which several may share."""
        return cost.stored * self.item.nbytes // max(cost.logical, 1)


@dataclass(frozen=True, slots=True)
class Use:
    """What one version is read from."""

    metadata: Metadata
    places: tuple[Place, ...]
    lacking: tuple[str, ...]
    """What the store lacks of it, in words."""

    def payloads(self) -> set[Key]:
        """All payloads that are read to rebuild the file."""
        return {key for place in self.places for key in place.reads}


class Ledger:
    """What versions are read from in a store; every payload is looked at once."""

    def __init__(self, store: LocalStore, plugins: Plugins) -> None:
        self.costs: dict[Key, Cost] = {}
        self._store, self._plugins = store, plugins
        self._ways = Ways(store)

    def use(self, metadata: Metadata, path: str) -> Use:
        """What a version is read from; damage counts as lacking."""
        try:
            items = read_contents(metadata, path, store=self._store, plugins=self._plugins)
        except PackError as fault:
            return Use(metadata, (), (str(fault.args[0]),))
        located = self._ways.find([item.buffer for item in items])
        places: list[Place] = []
        lacking: dict[str, None] = {}
        for item in items:
            place = self._place(item, located.get(item.buffer))
            if place is None:
                lacking[item_name(metadata, item.number)] = None
            else:
                places.append(place)
        return Use(metadata, tuple(places), tuple(lacking))

    def stored(self, keys: Collection[Key]) -> int:
        """Stored bytes of payloads together."""
        return sum(self.costs[key].stored for key in keys)

    def _place(self, item: Item, location: Location | None) -> Place | None:
        if location is None:
            return None
        steps = self._ways.chain(location)
        for (one, number, _), step in steps.items():
            self.costs.setdefault((one, number), _cost(step.payload))
        reads = frozenset((one, number) for one, number, _ in steps)
        return Place(item, location[:2], reads, sum(step.nbytes for step in steps.values()))


def _cost(payload: Payload) -> Cost:
    logical = sum(nbytes for _, nbytes in payload.buffers)
    return Cost(payload.update[0], payload.depth, logical, payload.nbytes)


@dataclass(slots=True)
class Tally:
    """Sums over the values that one group had, or over one part of the skeleton."""

    name: str
    kind: str
    """``group``, ``skeleton``, or ``buffer``: what is no group's whole value."""
    dtype: str
    shape: tuple[int, ...] = ()
    values: int = 0
    """How many different ones."""
    logical: int = 0
    stored: int = 0
    """Bytes of their payloads; of one that several share, their part."""
    depth: int = 0
    """Most payloads that one is read from."""
    reads: int = 0
    """Most stored bytes that one is read from."""
    updates: dict[str, None] = field(default_factory=dict)
    """How they are stored; ``view``, ``empty`` or ``lacking`` for what has no payload, ``same`` for
    what another group has as well and is counted there."""


class Tallies:
    """Tallies of one path, over as many of its versions as are added."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._tallies: dict[tuple[str, str], Tally] = {}
        self._seen: set[BufferId] = set()

    def add(self, use: Use) -> None:
        """Count what a version consists of; a value that was counted already is not again."""
        for place in use.places:
            tally = self._tally(place.item)
            if place.item.buffer not in self._seen:
                self._seen.add(place.item.buffer)
                self._count(tally, place)
            elif not tally.updates:
                tally.updates["same"] = None
        stored = {place.item.number for place in use.places}
        if item_name(use.metadata, 0) in use.lacking:
            self._of("", "skeleton", "U8").updates["lacking"] = None
        for number, group in enumerate(use.metadata.groups, 1):
            if number not in stored:
                tally = self._of(group.name, "group", group.dtype, group.shape)
                lost = item_name(use.metadata, number) in use.lacking
                state = "lacking" if lost else "view" if group.nbytes else "empty"
                tally.updates[state] = None
                tally.logical = max(tally.logical, group.nbytes)

    def sorted(self) -> list[Tally]:
        """The skeleton, the groups by name, then what is no group."""
        kinds = ("skeleton", "group", "buffer")
        return sorted(self._tallies.values(), key=lambda one: (kinds.index(one.kind), one.name))

    def _tally(self, item: Item) -> Tally:
        role = item.role
        if role is not None and role.part is None:
            return self._of(role.group.name, "group", role.group.dtype, role.group.shape)
        kind = "buffer" if item.number else "skeleton"
        return self._of(role.group.name if role else "", kind, item.buffer.dtype)

    def _of(self, name: str, kind: str, dtype: str, shape: tuple[int, ...] = ()) -> Tally:
        tally = self._tallies.setdefault((kind, name), Tally(name, kind, dtype))
        tally.dtype, tally.shape = dtype, shape
        return tally

    def _count(self, tally: Tally, place: Place) -> None:
        cost = self._ledger.costs[place.key]
        tally.values += 1
        tally.logical += place.item.nbytes
        tally.stored += place.share(cost)
        tally.depth = max(tally.depth, len(place.reads))
        tally.reads = max(tally.reads, place.nbytes)
        tally.updates.pop("same", None)
        tally.updates[cost.update] = None
