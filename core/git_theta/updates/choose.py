"""Chooses how a buffer is stored: the smallest update that proves itself; dense is the floor."""

from __future__ import annotations

from dataclasses import dataclass

from git_theta.digests import digest
from git_theta.errors import MissingPackError, PackError
from git_theta.plugins import Plugins
from git_theta.source import Source
from git_theta.storage.decode import Reader
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import MAX_DEPTH, BufferId, Payload
from git_theta.updates.interface import Update
from git_theta.updates.patch import MAX_BYTES

EXTRA_COST = 4096
"""Bytes that decoding may read beyond twice the buffer's own length."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An update and what it stands on."""

    name: str
    """Name of the update type."""
    update: Update
    bases: tuple[BufferId, ...] = ()
    depth: int = 1
    """Payloads to read, this one included."""
    base_cost: int = 0
    """Stored bytes that are read to decode the base."""


def choose(
    store: LocalStore, plugins: Plugins, buffer: BufferId, new: Source, base: BufferId | None
) -> Choice:
    """The update under which a buffer is stored.

    Parameters
    ----------
    store
        Where the base is read.
    plugins
        Where update types are found.
    buffer, new
        The buffer and its bytes, little-endian.
    base
        A buffer that it may resemble, such as its last version; None: nothing is known.
    """
    if base and base != buffer and buffer.dtype == "U8" and new.size <= MAX_BYTES:
        patch = _patch(store, plugins, buffer, new, base)
        if patch:
            return patch
    dense = plugins.update_type("dense").encode(new, None, buffer.dtype)
    assert dense is not None
    return Choice("dense", dense)


def _patch(
    store: LocalStore, plugins: Plugins, buffer: BufferId, new: Source, base: BufferId
) -> Choice | None:
    payload = _payload(store, base)
    if payload and payload.depth >= MAX_DEPTH:  # stand on what the base stands on
        base = payload.bases[0]
        payload = _payload(store, base)
    if payload is None or payload.depth >= MAX_DEPTH:
        return None
    old = _read_base(store, plugins, base)
    if old is None:
        return None
    patch_type = plugins.update_type("patch")
    update = patch_type.encode(new, old, buffer.dtype)
    if update is None:
        return None
    stored = sum(part.data.size for part in update.parts)
    if stored > new.size // 2 or stored + payload.cost > 2 * new.size + EXTRA_COST:
        return None
    if digest(patch_type.decode(update, old, buffer.dtype, new.size)) != buffer.digest:
        return None
    return Choice("patch", update, (base,), payload.depth + 1, payload.cost)


def _read_base(store: LocalStore, plugins: Plugins, base: BufferId) -> Source | None:
    """A base if it is what it should be: what stood on damaged bytes would be lost with them."""
    try:
        old = Reader(store, plugins).open(base)
        return old if old.size <= MAX_BYTES and digest(old) == base.digest else None
    except (PackError, MissingPackError):
        return None


def _payload(store: LocalStore, buffer: BufferId) -> Payload | None:
    """The payload from which a buffer is decoded with the fewest reads."""
    locations = store.find([buffer]).get(buffer)
    try:
        return store.pack(locations[0].pack).payload(locations[0].payload) if locations else None
    except (PackError, MissingPackError):
        return None
