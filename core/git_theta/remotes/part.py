"""Fetches what some parameter groups of a file need, and nothing for the others."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from git_theta.errors import MissingPackError
from git_theta.git.repository import Repository
from git_theta.groups import open_groups, views_of
from git_theta.items import item_identity
from git_theta.metadata import Metadata
from git_theta.places import find_places
from git_theta.plugins import installed
from git_theta.remotes.needs import Need
from git_theta.remotes.obtain import lost_items, obtain, packs_of
from git_theta.skeleton import Origin
from git_theta.source import Source


def groups_fetched(
    repository: Repository, metadata: Metadata, path: str, blob: str, groups: Collection[int]
) -> dict[int, Source]:
    """The elements of groups by item number, fetched where the local store lacks them.

    Groups that are views of others need the file's skeleton, to tell of which: so there are two
    requests then, else one.

    Raises
    ------
    MissingPackError
        When no store has one of them.
    PackError
        When a pack is corrupt.
    """
    origin = Origin(metadata, path, repository.store, installed())
    hinted = {item for hint in metadata.packs for item in hint.items}
    equal = {item_identity(metadata, item)[0]: item for item in hinted if item}
    lacking = set(_lacking(origin, groups))
    named = {equal.get(item_identity(metadata, item)[0], 0) for item in lacking}
    if 0 in named and 0 not in lost_items(repository, metadata, path):
        named.discard(0)
    _fetch(repository, origin, blob, named)
    try:
        if any(item_identity(metadata, item)[0] not in equal for item in lacking):
            views = views_of(origin)
            items = {item for group in lacking if group in views for item in views[group][1]}
            _fetch(repository, origin, blob, _lacking(origin, items))
        return open_groups(origin, groups)
    except MissingPackError:  # the hints are out of date
        if not obtain(repository, [Need(path, blob, {})]):
            raise
    return open_groups(origin, groups)


def _lacking(origin: Origin, items: Collection[int]) -> list[int]:
    """Those of some groups and buffers that the local store cannot give by themselves."""
    identities = {item: item_identity(origin.metadata, item, origin.path) for item in items}
    places = find_places(origin.store, [identity for identity, _ in identities.values()])
    return [item for item, (one, nbytes) in identities.items() if nbytes and one not in places]


def _fetch(repository: Repository, origin: Origin, blob: str, items: Iterable[int]) -> None:
    packs = packs_of(origin.metadata, set(items))
    absent = origin.store.packs.missing(packs)
    wanted = {pack: nbytes for pack, nbytes in packs.items() if pack in absent}
    if wanted:
        obtain(repository, [Need(origin.path, blob, wanted)])
