"""What has to be read to decode a buffer: a payload and, transitively, those that it stands on."""

from __future__ import annotations

from git_theta.errors import MissingPackError
from git_theta.storage.index import Location
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import Payload


def chain(store: LocalStore, location: Location) -> dict[tuple[str, int], Payload]:
    """The payloads that are read to decode the one at a location, itself first.

    By pack and number; each base is looked for strictly shallower than what stands on it.

    Raises
    ------
    MissingPackError
        When the store lacks one.
    PackError
        When a pack's directory is damaged.
    """
    found: dict[tuple[str, int], Payload] = {}
    waiting = [location]
    while waiting:
        at = waiting.pop()
        key = (at.pack, at.payload)
        if key in found:
            continue
        payload = found[key] = store.pack(at.pack).payload(at.payload)
        for base in payload.bases:
            shallower = [to for to in store.find([base]).get(base, ()) if to.depth < at.depth]
            if not shallower:
                raise MissingPackError(f"No pack in the store {store.folder} holds the base {base}")
            waiting.append(shallower[0])
    return found
