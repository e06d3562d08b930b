"""What remotes have to do with a repository being whole: what lies there, what they can mend."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from git_theta.errors import MissingPackError, ThetaError
from git_theta.git import run
from git_theta.git.repository import Repository
from git_theta.remotes.acknowledged import Acknowledged
from git_theta.remotes.config import identity, open_store, remotes
from git_theta.remotes.fetch import fetch_packs
from git_theta.remotes.keep import EVERYTHING
from git_theta.remotes.needs import Need, needs_of, total
from git_theta.remotes.obtain import published
from git_theta.storage.verify import Problem


class Asked(NamedTuple):
    """What remotes said."""

    there: set[str]
    """Packs that some remote has."""
    problems: list[Problem]
    """Remotes that cannot be asked, and packs that remotes should have and lack."""
    moved: dict[str, Need]
    """What blobs of metadata need now, where the packs that they name were replaced by others."""


def recorded(repository: Repository) -> set[str]:
    """The packs that remotes had when they were last asked; asks nobody."""
    found: set[str] = set()
    for remote in remotes():
        with contextlib.suppress(ThetaError):
            found |= _record(repository, remote).packs
    return found


def ask(repository: Repository, names: Sequence[str]) -> Asked:
    """Ask remotes for all packs that history needs; what they lack is forgotten to be there.

    What they say is recorded. A remote should have what its branches need, as far as they are
    known here.
    """
    packs = total(needs_of(repository, *EVERYTHING))
    there: set[str] = set()
    problems: list[Problem] = []
    moved: dict[str, Need] = {}
    for remote in names:
        try:
            store = open_store(remote)
            missing = store.missing(packs)
            fresh = _fresh(repository, remote, missing)
            asked = packs | total(fresh.values())
            missing |= store.missing({pack: asked[pack] for pack in asked.keys() - packs.keys()})
            record = _record(repository, remote)
            record.discard(missing)
            record.add(asked.keys() - missing)
        except ThetaError as fault:
            problems.append(Problem(f"remote {remote}", str(fault)))
            continue
        there |= asked.keys() - missing
        moved |= fresh
        problems += _lacking(repository, remote, missing, fresh)
    return Asked(there, problems, moved)


def presumed(repository: Repository) -> set[str]:
    """Metadata whose packs remotes ought to have, as far as nobody here has asked them for all.

    Where our hook ran, no push moved a branch without what it needs.
    """
    unasked = [f"--remotes={name}" for name in remotes() if not _has_history(repository, name)]
    return {need.blob for need in needs_of(repository, *unasked)} if unasked else set()


def _has_history(repository: Repository, remote: str) -> bool:
    try:
        return _record(repository, remote).has_history
    except ThetaError:  # it cannot be asked either
        return False


def _fresh(repository: Repository, remote: str, missing: Collection[str]) -> dict[str, Need]:
    """What a remote has been told of metadata that names packs that it lacks, by blob."""
    if not missing:
        return {}
    lost = set(missing)
    stale = [need for need in needs_of(repository, *EVERYTHING) if lost & need.packs.keys()]
    return published(repository, stale, [remote])


def mend(repository: Repository, corrupt: Iterable[str], names: Sequence[str]) -> set[str]:
    """Fetch packs that are damaged here once more; those that are whole now.

    A damaged one stays as it is where no remote has it.
    """
    store = repository.store
    sizes = total(needs_of(repository, *EVERYTHING))
    mended: set[str] = set()
    for pack in dict.fromkeys(corrupt):
        aside = store.packs.new_file()
        damaged = store.packs.path(pack)
        size = sizes.get(pack, damaged.stat().st_size)
        damaged.replace(aside)
        store.forget(pack)
        try:
            fetch_packs(repository, {pack: size}, names)
            mended.add(pack)
        except MissingPackError:
            pass
        finally:
            if damaged.exists():
                aside.unlink()
            else:
                aside.replace(damaged)
    store.rebuild()
    return mended


def is_elsewhere(packs: Collection[str], repository: Repository, there: Collection[str]) -> bool:
    """Whether all packs of a version are either here or with a remote, some of them there."""
    absent = repository.store.packs.missing(packs)
    return bool(absent) and absent <= set(there)


def _record(repository: Repository, remote: str) -> Acknowledged:
    return Acknowledged(repository.folder / "theta" / "remotes", identity(remote))


def _lacking(
    repository: Repository, remote: str, missing: Collection[str], fresh: Mapping[str, Need]
) -> Iterator[Problem]:
    """What a remote lacks of its own branches' files."""
    branches = run.text("for-each-ref", "--format=%(objectname)", f"refs/remotes/{remote}/")
    for need in needs_of(repository, *branches.split()) if missing and branches else ():
        lost = sorted(fresh.get(need.blob, need).packs.keys() & set(missing))
        if lost:
            here = not repository.store.packs.missing(lost)
            remedy = (
                f"git theta push --all {remote} sends them again"
                if here
                else "Whoever has them runs git theta push --all"
            )
            listed = "".join(f"\n  pack {pack}" for pack in lost)
            what = f"lacks packs of {need.path} (blob {need.blob[:12]}):{listed}\n{remedy}"
            yield Problem(f"remote {remote}", what)
