"""Chooses how a buffer is stored: the smallest update that proves itself; dense is the floor.

Every installed update type is asked, the builtin patch as any other; all but dense without a base
come from plugins, so with none installed nothing is tried on numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from git_theta.digests import digest
from git_theta.dtypes import BITS
from git_theta.errors import MissingPackError, PackError
from git_theta.plugins import Failure, Offer, Plugins
from git_theta.source import BytesSource, Source
from git_theta.storage.decode import Reader
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import MAX_DEPTH, MAX_PARAMS, BufferId, Payload
from git_theta.updates.interface import Numbers, Update, UpdateType
from git_theta.updates.patch import MAX_BYTES

EXTRA_COST = 4096
"""Bytes that decoding may read beyond twice the buffer's own length."""

HELD = 16 * 2**20
"""Bytes of the largest update: it is held, so that what was proved is what is written."""

MAX_PARTS = 16
"""Most parts of an update."""


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


@dataclass(frozen=True, slots=True)
class _Ground:
    """A base that can be stood on."""

    buffer: BufferId
    data: Source
    payload: Payload


def choose(
    store: LocalStore, plugins: Plugins, buffer: BufferId, new: Source, base: BufferId | None
) -> Choice:
    """The update under which a buffer is stored.

    One other than dense must be told in half the buffer's bytes, and in no more than
    :data:`HELD`. An update type that raises is not asked again, and is one of the plugins'
    failures: the buffer is stored all the same.

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
    ground = _ground(store, plugins, base) if base and base != buffer else None
    choices = list(_choices(plugins, buffer, new, ground))
    if choices:
        return min(choices, key=lambda choice: _nbytes(choice.update))
    dense = plugins.update_type("dense").encode(_numbers(new, buffer.dtype), ())
    assert dense is not None
    return Choice("dense", dense)


def _choices(
    plugins: Plugins, buffer: BufferId, new: Source, ground: _Ground | None
) -> Iterator[Choice]:
    failed = {failure.what for failure in plugins.failures}
    for offer in plugins.offers("theta_update_types").values():
        needs_base, what = offer.value.max_bases > 0, f"update type {offer.name}"
        if offer.name == "dense" or what in failed or (needs_base and ground is None):
            continue
        on = ground if needs_base else None
        try:
            update = _prove(plugins, offer, buffer, new, on)
        except Exception as error:  # whatever a plugin does, the buffer is kept
            plugins.failures.append(Failure(offer.plugin, what, error))
            continue
        if update and on is None:
            yield Choice(offer.name, update)
        elif update and on and _nbytes(update) + on.payload.cost <= 2 * new.size + EXTRA_COST:
            depth, cost = on.payload.depth + 1, on.payload.cost
            yield Choice(offer.name, update, (on.buffer,), depth, cost)


def _prove(
    plugins: Plugins, offer: Offer, buffer: BufferId, new: Source, on: _Ground | None
) -> Update | None:
    """An update that a pack can hold and that decodes to the exact bytes; None: there is none."""
    update_type: UpdateType = offer.value
    old = [on.data] if on else []
    bases = [_numbers(data, buffer.dtype) for data in old]
    found = update_type.encode(_numbers(new, buffer.dtype), bases)
    if found is None or not _fits(found, new.size):
        return None
    for part in found.parts:
        plugins.serializer(part.serializer or "raw")
    update = Update(
        tuple(
            replace(part, data=BytesSource(bytes(part.data.read(0, part.data.size))))
            for part in found.parts
        ),
        found.params,
    )
    decoded = update_type.decode(update, old, buffer.dtype, new.size)
    same = decoded.size == new.size and digest(decoded) == buffer.digest
    return update if same else None


def _fits(update: Update, nbytes: int) -> bool:
    """Whether a pack can hold an update, and that pays for a buffer of ``nbytes`` bytes."""
    valid = all(
        part.dtype in BITS and part.data.size and not part.data.size * 8 % BITS[part.dtype]
        for part in update.parts
    )
    few = 0 < len(update.parts) <= MAX_PARTS and len(update.params) <= MAX_PARAMS
    return valid and few and _nbytes(update) <= min(nbytes // 2, HELD)


def _numbers(data: Source, dtype: str) -> Numbers:
    return Numbers(data, dtype, (data.size * 8 // BITS[dtype],))


def _nbytes(update: Update) -> int:
    return sum(part.data.size for part in update.parts) + len(update.params)


def _ground(store: LocalStore, plugins: Plugins, base: BufferId) -> _Ground | None:
    payload = _payload(store, base)
    if payload and payload.depth >= MAX_DEPTH:  # stand on what the base stands on
        base = payload.bases[0]
        payload = _payload(store, base)
    if payload is None or payload.depth >= MAX_DEPTH:
        return None
    old = _read_base(store, plugins, base)
    return _Ground(base, old, payload) if old else None


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
