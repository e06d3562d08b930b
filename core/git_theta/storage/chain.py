"""By which payloads each buffer of a store is decoded, without ever going in circles.

Stores meet: several payloads of one buffer may lie side by side, each a difference to what the
other stands on, and what one stood on may be gone. So the depth that a payload states is a hint,
and the way to it is found here, by Knuth's generalization of Dijkstra's algorithm (Information
Processing Letters 6, 1977): a payload costs one more than its bases together, a buffer as much as
its cheapest payload, and what is cheapest is settled first. In a circle nothing is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from heapq import heappop, heappush
from typing import NamedTuple

from git_theta.errors import MissingPackError, PackError, ThetaError
from git_theta.storage.index import Location
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import BufferId, Payload

MAX_READS = 64
"""Most payloads that are read for one, those that are read twice counted twice."""

REMEDY = "Run git theta fetch --all, or copy packs from another clone's store"
"""What to do about a buffer that no pack holds."""

Key = tuple[str, int]
"""A payload: its pack, its number in it."""

Spot = tuple[str, int, int]
"""A buffer of a payload: its pack, its number in it, the slot."""


class Step(NamedTuple):
    """A payload that is read for one of its buffers."""

    payload: Payload
    slot: int

    @property
    def bases(self) -> tuple[BufferId, ...]:
        """What the buffer stands on."""
        return self.payload.bases_of(self.slot)

    @property
    def nbytes(self) -> int:
        """Stored bytes that are read of it."""
        return self.payload.stored(self.slot)


class _Cost(NamedTuple):
    """What is compared: few reads, then few bytes, then names: the choice is always the same."""

    reads: int
    nbytes: int
    location: Location


class Ways:
    """The ways to the buffers of a store; what was found out once is kept.

    Parameters
    ----------
    store
        Where they lie.
    without
        Packs that may not be read: to find out what would be left without them.
    """

    def __init__(self, store: LocalStore, without: Set[str] = frozenset()) -> None:
        self._store, self._without = store, without
        self._best: dict[BufferId, _Cost | None] = {}
        self._payloads: dict[Key, Payload | None] = {}
        self._faults: dict[Key, ThetaError] = {}
        self._avoided: set[Spot] = set()

    def find(
        self,
        buffers: Collection[BufferId],
        located: Mapping[BufferId, Sequence[Location]] | None = None,
    ) -> dict[BufferId, Location]:
        """From where each buffer is read; those that cannot be decoded are left out.

        ``located`` saves asking the index again.
        """
        new = [buffer for buffer in buffers if buffer not in self._best]
        if new:
            located = self._store.find(new) if located is None else located
            deep = [buffer for buffer in new if not self._is_dense(buffer, located)]
            if deep:
                self._settle(self._explore(deep, located))
        best = self._best
        return {buffer: cost.location for buffer in buffers if (cost := best[buffer])}

    def chain(self, location: Location) -> dict[Spot, Step]:
        """What is read to decode the buffer at a location, its own payload first.

        Raises
        ------
        MissingPackError
            When one of its bases cannot be decoded.
        PackError
            When its pack's directory is damaged.
        """
        pack, number, slot, _ = location
        payload = self._payloads.get((pack, number))
        if payload is None:
            payload = self._store.pack(pack).payload(number)
            self._payloads.setdefault((pack, number), payload)
        found = {(pack, number, slot): Step(payload, slot)}
        waiting = [*payload.bases_of(slot)]
        while waiting:
            base = waiting.pop()
            at = self.find([base]).get(base)
            if at is None:
                raise self.fault(base)
            spot = at.pack, at.payload, at.slot
            known = self._payloads[spot[:2]]
            if spot not in found and known:
                found[spot] = Step(known, at.slot)
                waiting += found[spot].bases
        return found

    def fault(self, buffer: BufferId) -> ThetaError:
        """Why a buffer cannot be decoded: a damaged pack, else what is missing, else a circle."""
        missing: BufferId | None = None
        seen, waiting = {buffer}, [buffer]
        while waiting:
            one = waiting.pop()
            places = self._store.find([one]).get(one, [])
            missing = missing if places else one
            for location in places:
                payload = self._payload(location, one)
                key = location.pack, location.payload
                if key in self._faults:
                    return self._faults[key]
                bases = payload.bases_of(location.slot) if payload else ()
                new = [base for base in bases if base not in seen]
                seen.update(new)
                waiting += new
        folder = self._store.folder
        what = f"No pack in the store {folder} holds the buffer {missing}"
        if missing is None:
            what = (
                f"The store {folder} has the buffer {buffer} only in terms of one another, "
                f"or of more than {MAX_READS} payloads"
            )
        return MissingPackError(what, remedy=REMEDY)

    def avoid(self, location: Location) -> None:
        """Go by other ways than this one, on which something turned out to be damaged."""
        self._avoided.add(location[:3])
        self._best.clear()

    def _is_dense(self, buffer: BufferId, located: Mapping[BufferId, Sequence[Location]]) -> bool:
        """Whether the first payload has no bases, as most have: no search is needed then."""
        first = located.get(buffer, ())[:1]
        payload = self._payload(first[0], buffer) if first and first[0].depth == 1 else None
        if payload is None:
            return False
        self._best[buffer] = _Cost(1, payload.nbytes, first[0])
        return True

    def _explore(
        self, buffers: Iterable[BufferId], located: Mapping[BufferId, Sequence[Location]]
    ) -> dict[BufferId, list[Location]]:
        """All that may have to be read for buffers, and where it can be read from.

        A payload without bases is the best that there can be: what else there is of the buffer is
        not looked at then.
        """
        found: dict[BufferId, list[Location]] = {}
        waiting = list(dict.fromkeys(buffers))
        while waiting:
            bases: dict[BufferId, None] = {}
            for buffer in waiting:
                places = found[buffer] = []
                for location in located.get(buffer, ()):
                    payload = self._payload(location, buffer)
                    if payload is None:
                        continue
                    places.append(location)
                    if not payload.bases:
                        break
                    bases |= dict.fromkeys(payload.bases_of(location.slot))
            waiting = [base for base in bases if base not in found and base not in self._best]
            located = self._store.find(waiting) if waiting else {}
        return found

    def _payload(self, location: Location, buffer: BufferId) -> Payload | None:
        """The payload at a location if it can be used; the index, a cache, may be wrong of it."""
        key = location.pack, location.payload
        if key not in self._payloads:
            try:
                usable = location.pack not in self._without
                pack = self._store.pack(location.pack) if usable else None
                self._payloads[key] = pack.payload(location.payload) if pack else None
            except (MissingPackError, PackError) as fault:
                self._payloads[key], self._faults[key] = None, fault
        payload = None if location[:3] in self._avoided else self._payloads[key]
        if payload is None or not location.slot < len(payload.buffers):
            return None
        return payload if payload.buffers[location.slot][0] == buffer else None

    def _settle(self, found: Mapping[BufferId, Sequence[Location]]) -> None:
        """Find the best way to each of the buffers; what else these stand on is settled already."""
        heap: list[tuple[_Cost, BufferId]] = []
        lacking: dict[tuple[BufferId, Location], int] = {}
        waiting: dict[BufferId, list[tuple[BufferId, Location]]] = {}
        for buffer, locations in found.items():
            for location in locations:
                bases = set(self._bases(location))
                unsettled = [base for base in bases if base in found]
                lacking[buffer, location] = len(unsettled)
                for base in unsettled:
                    waiting.setdefault(base, []).append((buffer, location))
                if not unsettled:
                    self._offer(heap, buffer, location)
        while heap:
            cost, buffer = heappop(heap)
            if buffer in self._best:
                continue
            self._best[buffer] = cost
            for one in waiting.get(buffer, ()):
                lacking[one] -= 1
                if not lacking[one] and one[0] not in self._best:
                    self._offer(heap, *one)
        for buffer in found:
            self._best.setdefault(buffer, None)

    def _offer(
        self, heap: list[tuple[_Cost, BufferId]], buffer: BufferId, location: Location
    ) -> None:
        """Take a payload into account, all of whose bases are settled."""
        payload = self._payloads[location.pack, location.payload]
        costs = [self._best[base] for base in set(self._bases(location))]
        if payload is None or None in costs:
            return
        reads = 1 + sum(cost.reads for cost in costs if cost)
        nbytes = payload.nbytes + sum(cost.nbytes for cost in costs if cost)
        if reads <= MAX_READS:
            heappush(heap, (_Cost(reads, nbytes, location), buffer))

    def _bases(self, location: Location) -> tuple[BufferId, ...]:
        payload = self._payloads[location.pack, location.payload]
        return payload.bases_of(location.slot) if payload else ()
