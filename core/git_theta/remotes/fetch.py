"""Fetches packs from the stores of git remotes into the local store.

Whatever asks for packs asks for all of them at once: a store is given one request, and makes of it
what it can (one negotiation, several transfers at a time). What arrived stays, also after an error
or a kill, so that the next fetch goes on from there.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from git_theta.errors import MissingPackError, PackError, StoreError, ThetaError
from git_theta.git import run
from git_theta.git.repository import Repository
from git_theta.human import counted, human_size
from git_theta.progress import progress
from git_theta.remotes.config import open_url, remotes, store_url
from git_theta.remotes.neighbour import neighbour
from git_theta.storage.folder import PackFolder, sha256
from git_theta.storage.interface import Store

PREFIX = "fetch-"
"""How the folders begin in which packs arrive, beside the temporary files of the local store."""

NAMED = 8
"""Most packs that an error names."""


class Asked(NamedTuple):
    """A store that was asked for packs and did not give all of them."""

    remote: str
    url: str
    """Nothing when it could not be told."""
    fault: str
    """What went wrong; nothing: it answered, and lacks them."""


def fetch_packs(
    repository: Repository,
    wanted: Mapping[str, int],
    remotes: Sequence[str] | None = None,
) -> dict[str, int]:
    """Fetch those of the wanted packs that the local store lacks, and index them.

    Parameters
    ----------
    repository
        Whose local store they go to.
    wanted
        Bytes of each pack, as hints tell them.
    remotes
        The git remotes whose stores are asked, in this order; None: :func:`fetch_order`.

    Returns
    -------
    dict
        The packs that were fetched, and their bytes.

    Raises
    ------
    MissingPackError
        When no store has some of them, or none can be asked; those that arrived stay.
    """
    store = repository.store
    absent = store.packs.missing(wanted)
    left = {pack: nbytes for pack, nbytes in wanted.items() if pack in absent}
    if not left:
        return {}
    order = fetch_order() if remotes is None else list(remotes)
    asked: list[Asked] = []
    try:
        _adopt_leftovers(store.packs, left)
        with progress("Fetching weights", sum(left.values())) as advance:
            for url_of in (store_url, neighbour):
                for remote in order:
                    if left:
                        _ask(remote, url_of, store.packs, left, asked, advance)
    finally:
        store.refresh()
    fetched = absent - left.keys()
    if left:
        raise _not_found(left, asked)
    return {pack: store.packs.path(pack).stat().st_size for pack in fetched}


def fetch_order() -> list[str]:
    """The git remotes that are asked: the branch's, the default one, then all others."""
    names = remotes()
    if len(names) < 2:
        return names
    branch = run.text("symbolic-ref", "--quiet", "--short", "HEAD", ok=(0, 1, 128))
    keys = [f"branch.{branch}.remote"] if branch else []
    keys.append("checkout.defaultRemote")
    first = [run.text("config", "--get", key, ok=(0, 1)) for key in keys]
    return list(dict.fromkeys(name for name in (*first, "origin", *names) if name in names))


def _ask(
    remote: str,
    url_of: Callable[[str], str],
    packs: PackFolder,
    left: dict[str, int],
    asked: list[Asked],
    advance: Callable[[int], None],
) -> None:
    """Get what a remote's store has of what is left; what arrived is left no more."""
    url = ""
    try:
        url = url_of(remote)
        if not url or any(url == one.url for one in asked):
            return
        _get_all(open_url(url), packs, left, advance)
    except ThetaError as fault:
        asked.append(Asked(remote, url, str(fault)))
    else:
        if left:
            asked.append(Asked(remote, url, ""))


def _get_all(
    source: Store, packs: PackFolder, left: dict[str, int], advance: Callable[[int], None]
) -> None:
    """Get all that a store has: one request, unless it lacks some or has lost some.

    Raises
    ------
    PackError
        When some of what it has are not the packs; all others are there then.
    StoreError
        When it cannot be read.
    """
    with contextlib.suppress(MissingPackError, PackError):
        return _get(source, packs, left, list(left), advance)
    lacks = source.missing(left)
    with contextlib.suppress(MissingPackError, PackError):
        return _get(source, packs, left, [pack for pack in left if pack not in lacks], advance)
    damaged: ThetaError | None = None
    for pack in [pack for pack in left if pack not in lacks]:
        try:
            _get(source, packs, left, [pack], advance)
        except (MissingPackError, PackError) as fault:
            damaged = fault
    if damaged:
        raise damaged
    return None


def _get(
    source: Store,
    packs: PackFolder,
    left: dict[str, int],
    names: Sequence[str],
    advance: Callable[[int], None],
) -> None:
    """Get packs from a store; those that arrived are left no more, whatever happened then."""
    if not names:
        return
    with _arriving(packs) as folder:
        targets = {pack: folder / pack for pack in names}
        whole = False
        try:
            source.get(targets, left, advance)
            whole = True
        finally:
            for pack, file in targets.items():
                # a store that was interrupted may have left half of one
                if file.is_file() and (whole or sha256(file) == file.name):
                    _adopt(packs, file, pack)
                    del left[pack]


@contextmanager
def _arriving(packs: PackFolder) -> Iterator[Path]:
    """A folder on the disk of the local store in which packs arrive."""
    try:
        packs.make_temporary()
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=packs.temporary))
    except OSError as fault:
        raise _not_written(packs, fault) from fault
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _adopt_leftovers(packs: PackFolder, left: dict[str, int]) -> None:
    """Take whole packs that arrived for a process which did not live to take them."""
    for file in packs.temporary.glob(f"{PREFIX}*/*"):
        if file.name not in left:
            continue
        with contextlib.suppress(OSError):  # its process lives, and takes it
            if file.stat().st_size != left[file.name]:
                continue
            if sha256(file) == file.name:
                packs.adopt(file, file.name)
                del left[file.name]


def _adopt(packs: PackFolder, file: Path, pack: str) -> None:
    try:
        packs.adopt(file, pack)
    except OSError as fault:
        if not packs.path(pack).is_file():  # another process took it as a leftover
            raise _not_written(packs, fault) from fault


def _not_written(packs: PackFolder, fault: OSError) -> StoreError:
    return StoreError(
        f"Cannot write to the store {packs.folder}: {fault}",
        remedy="Free some space, then try again; what arrived is kept",
    )


def _not_found(left: Mapping[str, int], asked: Sequence[Asked]) -> MissingPackError:
    """The error about packs that nobody gave."""
    many = counted(len(left), "pack")
    named = "".join(f"\n  pack {pack} ({human_size(left[pack])})" for pack in list(left)[:NAMED])
    more = f"\n  and {len(left) - NAMED} more" if len(left) > NAMED else ""
    if not asked:
        return MissingPackError(
            f"{many} must be fetched, and there is no git remote:{named}{more}",
            remedy="Add the remote that has them, git remote add NAME URL, then run git theta "
            "fetch; or copy them from another clone's .git/theta/objects",
        )
    answers = "".join(f"\n  {_answer(one)}" for one in asked)
    lacking = all(not one.fault for one in asked)
    remedy = (
        "Whoever has them runs git theta push --all; then try again"
        if lacking
        else "Try again once this is mended; what arrived is kept"
    )
    return MissingPackError(
        f"{many} could not be fetched:{named}{more}\nAsked for them:{answers}",
        remedy=remedy,
    )


def _answer(asked: Asked) -> str:
    url = f" ({asked.url})" if asked.url else ""
    said = "\n    ".join(asked.fault.splitlines()) or "does not have them"
    return f"{asked.remote}{url}: {said}"
