"""Fetches what the local store lacks of files.

Only packs are asked for that hold items which are not there: one that repacking merged into
another is not, and neither is one that holds other groups alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Sequence

from git_theta.contents import read_contents
from git_theta.errors import GitError, MissingPackError, PackError
from git_theta.git.repository import Repository
from git_theta.git.tracked import quoted
from git_theta.metadata import Metadata, parse
from git_theta.places import find_places
from git_theta.plugins import installed
from git_theta.remotes.fetch import NAMED, fetch_order, fetch_packs
from git_theta.remotes.needs import Need, hinted_packs, total
from git_theta.smudge import Rebuilt, rebuild
from git_theta.storage.decode import NOTHING, AtHand


def rebuild_fetched(
    repository: Repository, metadata: Metadata, path: str, blob: str, at_hand: AtHand = NOTHING
) -> Rebuilt:
    """Find everything that a file consists of, and fetch it where the local store lacks it.

    Raises
    ------
    MissingPackError
        When no store has it; the message names packs, the stores that were asked, and what to do.
    MetadataError
        When the metadata contradicts itself.
    PackError
        When a pack is corrupt.
    """
    plugins = installed()
    try:
        return rebuild(metadata, path, store=repository.store, plugins=plugins, at_hand=at_hand)
    except MissingPackError:
        need = Need(path, blob, lacking_packs(repository, metadata, path))
        if not obtain(repository, [need]):
            raise
    return rebuild(metadata, path, store=repository.store, plugins=plugins, at_hand=at_hand)


def obtain(
    repository: Repository, needs: Sequence[Need], remotes: Sequence[str] | None = None
) -> dict[str, int]:
    """Fetch packs that the local store lacks; those that arrived, and their bytes.

    Where nobody has them any more, the remotes are asked for the packs that took their place.
    Nothing happens where there is no git remote: whoever reads a file says what it lacks.

    Parameters
    ----------
    repository
        Whose local store they go to.
    needs
        What versions of files lack, as :func:`lacking` tells. One that names no pack is of
        metadata that cannot be rebuilt, though it names no pack that is not here.
    remotes
        The git remotes whose stores are asked; None: all, see ``fetch_order``.

    Raises
    ------
    MissingPackError
        When no store has some of it; what arrived stays.
    """
    order = fetch_order() if remotes is None else list(remotes)
    if not needs or not order:
        return {}
    store = repository.store
    lost: MissingPackError | None = None
    arrived: dict[str, int] = {}
    try:
        arrived |= fetch_packs(repository, total(needs), order)
    except MissingPackError as fault:
        lost = fault
    stale = [need for need in needs if not need.packs or store.packs.missing(need.packs)]
    if stale:
        fresh = published(repository, stale, order)
        with contextlib.suppress(MissingPackError):
            arrived |= fetch_packs(repository, total(fresh.values()), order)
        stale = [
            need
            for need in stale
            if need.blob not in fresh or store.packs.missing(fresh[need.blob].packs)
        ]
    if stale and lost:
        paths = list(dict.fromkeys(quoted(need.path) for need in stale if need.packs))
        more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
        message = f"{', '.join(paths[:NAMED])}{more}: {lost.args[0]}"
        raise MissingPackError(message, remedy=lost.remedy) from lost
    return arrived


def published(
    repository: Repository, needs: Sequence[Need], remotes: Sequence[str]
) -> dict[str, Need]:
    """The packs that hold now what metadata needs, by its blob id, as remotes have been told.

    A remote that does not answer knows nothing.
    """
    from git_theta.remotes.ref import PacksRef

    found: dict[str, Need] = {}
    for remote in remotes:
        left = [need.blob for need in needs if need.blob and need.blob not in found]
        with contextlib.suppress(GitError):
            found |= PacksRef(repository, remote).hints(left)
    return found


def lacking(repository: Repository, versions: Iterable[tuple[str, str]]) -> list[Need]:
    """What versions of files lack: those that lack something.

    Parameters
    ----------
    repository
        Whose local store is looked at.
    versions
        Path and id of the metadata of each.

    Raises
    ------
    MetadataError
        When metadata is not valid.
    """
    found = []
    for path, blob in versions:
        text = repository.blob(blob)
        if repository.store.packs.missing(hinted_packs(text)):
            metadata = parse(text.replace(b"\r\n", b"\n"), path)
            need = Need(path, blob, lacking_packs(repository, metadata, path))
            found += [need] if need.packs else []
    return found


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
