"""Where the buffers of a version lie in a store, and the hints that metadata carries of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from git_theta.metadata import PackHint
from git_theta.storage.chain import Ways
from git_theta.storage.index import Location
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import BufferId


def find_places(store: LocalStore, buffers: Sequence[BufferId]) -> dict[BufferId, Location]:
    """Where buffers lie; one whose bases are lost or damaged is as good as missing.

    The index is a cache, which a power cut may leave wrong: the pack's own directory has the word.
    """
    located = store.find(buffers)
    return Ways(store).find(located, located)


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
    read: dict[tuple[str, int, int], set[str]] = {}
    ways = Ways(store)
    ways.find([buffer for buffer, location in places.items() if location.depth > 1])  # at once
    for number, identity in items:
        location = places.get(identity)
        if location is None:
            continue
        pack, payload, slot, depth = location
        spot = (pack, payload, slot if depth > 1 else 0)
        if spot not in read:
            deep = ways.chain(location) if depth > 1 else (spot,)
            read[spot] = {pack for pack, *_ in deep}
        for pack in read[spot]:
            packs.setdefault(pack, set()).add(number)
    hints = [
        PackHint(pack, store.pack(pack).file.size, tuple(sorted(numbers)))
        for pack, numbers in packs.items()
    ]
    return tuple(sorted(hints, key=lambda hint: (hint.items, hint.pack)))
