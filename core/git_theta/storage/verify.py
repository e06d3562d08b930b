"""Checks packs all the way down: their names, their directories, every buffer's digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from git_theta.digests import digest
from git_theta.errors import MissingPackError, MissingPluginError, PackError
from git_theta.parallel import ordered_map
from git_theta.plugins import Plugins
from git_theta.storage.decode import Reader
from git_theta.storage.local import LocalStore
from git_theta.storage.pack import Pack


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that fsck found."""

    where: str
    """A pack, or a path in a commit."""
    what: str
    """What is wrong, and the remedy."""
    corrupt: str = ""
    """The pack whose bytes are not its own, if it is that; a copy mends it."""
    elsewhere: bool = False
    """Whether nothing is wrong, but something must be fetched before it can be looked at."""
    lacking: bool = False
    """Whether it is that packs are not here, and nobody said that a remote has them."""


def verify_packs(
    store: LocalStore, plugins: Plugins, advance: Callable[[int], None] = lambda _: None
) -> Iterator[Problem]:
    """Check every pack of a store; ``advance`` is told how many of their bytes are done."""
    for name in sorted(store.packs.packs()):
        yield from verify_pack(store, plugins, name)
        advance(store.packs.path(name).stat().st_size)


def verify_pack(store: LocalStore, plugins: Plugins, name: str) -> Iterator[Problem]:
    """Check one pack: its name, its directory, and that each buffer decodes to its digest."""
    try:
        pack = store.pack(name)
        hasher = hashlib.sha256()
        for block in pack.file.blocks():
            hasher.update(block)
        if hasher.hexdigest() != name:
            found = hasher.hexdigest()
            yield Problem(f"pack {name}", f"is corrupt: its SHA-256 is {found}", corrupt=name)
        numbers = range(len(pack))
    except PackError as fault:
        yield Problem(f"pack {name}", str(fault), corrupt=name)
        return
    for problems in ordered_map(lambda n: list(_payload(store, plugins, pack, n)), numbers):
        yield from problems


def _payload(store: LocalStore, plugins: Plugins, pack: Pack, number: int) -> Iterator[Problem]:
    where = f"pack {pack.id}"
    try:
        payload = pack.payload(number)
        source = Reader(store, plugins).open_payload(pack, payload)
        at = 0
        for identity, nbytes in payload.buffers:
            if digest(source.window(at, nbytes)) != identity.digest:
                yield Problem(where, f"payload {number} does not decode to the buffer {identity}")
            at += nbytes
    except MissingPackError as fault:  # the base of a difference, in a pack that is not here
        yield Problem(where, f"payload {number}: {fault}", elsewhere=True)
    except (PackError, MissingPluginError) as fault:
        yield Problem(where, f"payload {number}: {fault}")
