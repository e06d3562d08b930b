"""Fetches what the local store lacks of files.

Only packs are asked for that hold items which are not there: one that repacking merged into
another is not, and neither is one that holds other groups alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from git_theta.contents import read_contents
from git_theta.errors import PackError
from git_theta.git.repository import Repository
from git_theta.metadata import Metadata, parse
from git_theta.places import find_places
from git_theta.plugins import installed
from git_theta.remotes.fetch import fetch_order, fetch_packs
from git_theta.remotes.needs import hinted_packs


def obtain(
    repository: Repository,
    versions: Iterable[tuple[str, str]],
    remotes: Sequence[str] | None = None,
) -> dict[str, int]:
    """Fetch what the local store lacks of versions of files; the packs that arrived.

    Nothing happens where there is no git remote: whoever reads a file says what it lacks.

    Parameters
    ----------
    repository
        Whose local store they go to.
    versions
        Path and id of the metadata of each.
    remotes
        The git remotes whose stores are asked; None: all, see ``fetch_order``.

    Raises
    ------
    MissingPackError
        When no store has some of it; what arrived stays.
    MetadataError
        When metadata is not valid.
    """
    order = fetch_order() if remotes is None else remotes
    lacking: dict[str, int] = {}
    for path, oid in versions:
        text = repository.blob(oid)
        if repository.store.packs.missing(hinted_packs(text)):
            metadata = parse(text.replace(b"\r\n", b"\n"), path)
            lacking |= lacking_packs(repository, metadata, path)
    return fetch_packs(repository, lacking, order) if lacking and order else {}


def lacking_packs(repository: Repository, metadata: Metadata, path: str) -> dict[str, int]:
    """The packs to fetch before a file can be rebuilt, by its hints; names and bytes.

    Nothing when it can be rebuilt already, or when the hints do not say what to fetch.
    """
    store = repository.store
    absent = store.packs.missing(hint.pack for hint in metadata.packs)
    if not absent:
        return {}
    if len(absent) == len(metadata.packs) and not store.packs.packs():
        return {hint.pack: hint.nbytes for hint in metadata.packs}
    wanted = packs_of(metadata, lost_items(repository, metadata, path))
    return {pack: nbytes for pack, nbytes in wanted.items() if pack in absent}


def lost_items(repository: Repository, metadata: Metadata, path: str) -> set[int]:
    """The numbers of a file's items that the local store cannot give, or may be unable to."""
    store = repository.store
    try:
        items = read_contents(metadata, path, store=store, plugins=installed())
    except PackError:  # a damaged skeleton: whoever reads it says so
        return {0}
    places = find_places(store, [item.buffer for item in items])
    return {item.number for item in items if item.buffer not in places}


def packs_of(metadata: Metadata, items: Collection[int]) -> dict[str, int]:
    """The packs that hints name for items: names and bytes."""
    wanted = frozenset(items)
    return {hint.pack: hint.nbytes for hint in metadata.packs if not wanted.isdisjoint(hint.items)}
