"""Where the buffers of a version lie in a store, and the hints that metadata carries of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from git_theta.errors import MissingPackError, PackError
from git_theta.metadata import PackHint
from git_theta.storage.chain import chain
from git_theta.storage.index import Location
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import BufferId, Payload


def find_places(store: LocalStore, buffers: Sequence[BufferId]) -> dict[BufferId, Location]:
    """Where buffers lie; one whose bases are lost or damaged is as good as missing.

    The index is a cache, which a power cut may leave wrong: the pack's own directory has the word.
    """
    places = {}
    held: dict[tuple[str, int], Payload | None] = {}
    for buffer, found in store.find(buffers).items():
        for location in found:
            key = (location.pack, location.payload)
            if key not in held:
                held[key] = _payload(store, location)
            payload = held[key]
            if payload and _has(payload, location.slot, buffer):
                places[buffer] = location
                break
    return places


def pack_hints(
    items: Iterable[tuple[int, BufferId]],
    places: Mapping[BufferId, Location],
    store: LocalStore,
) -> tuple[PackHint, ...]:
    """Which packs are read for which items, their bases' included, in metadata's order.

    Parameters
    ----------
    items
        Number and identity; what has no place is left out.
    places
        Where they lie, as :func:`find_places` gives it.
    store
        Where that is.
    """
    packs: dict[str, set[int]] = {}
    read: dict[tuple[str, int], set[str]] = {}
    for number, identity in items:
        location = places.get(identity)
        if location is None:
            continue
        key = (location.pack, location.payload)
        if key not in read:
            deep = chain(store, location) if location.depth > 1 else (key,)
            read[key] = {pack for pack, _ in deep}
        for pack in read[key]:
            packs.setdefault(pack, set()).add(number)
    hints = [
        PackHint(pack, store.pack(pack).file.size, tuple(sorted(numbers)))
        for pack, numbers in packs.items()
    ]
    return tuple(sorted(hints, key=lambda hint: (hint.items, hint.pack)))


def _has(payload: Payload, slot: int, buffer: BufferId) -> bool:
    return slot < len(payload.buffers) and payload.buffers[slot][0] == buffer


def _payload(store: LocalStore, location: Location) -> Payload | None:
    """The payload at a location; None when it, or what it stands on, is not there."""
    try:
        if location.depth > 1:
            chain(store, location)
        return store.pack(location.pack).payload(location.payload)
    except (MissingPackError, PackError):
        return None
