"""What remotes have to do with a repository being whole: what lies there, what they can mend."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from git_theta.errors import MissingPackError, ThetaError
from git_theta.git import run
from git_theta.git.repository import Repository
from git_theta.remotes.acknowledged import Acknowledged
from git_theta.remotes.config import identity, open_store, remotes
from git_theta.remotes.fetch import fetch_packs
from git_theta.remotes.keep import EVERYTHING
from git_theta.remotes.needs import needs_of, total
from git_theta.storage.verify import Problem


class Asked(NamedTuple):
    """What remotes said."""

    there: set[str]
    """Packs that some remote has."""
    problems: list[Problem]
    """Remotes that cannot be asked, and packs that remotes should have and lack."""


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
    for remote in names:
        try:
            missing = open_store(remote).missing(packs)
            record = _record(repository, remote)
            record.discard(missing)
            record.add(packs.keys() - missing)
        except ThetaError as fault:
            problems.append(Problem(f"remote {remote}", str(fault)))
            continue
        there |= packs.keys() - missing
        problems += _lacking(repository, remote, missing)
    return Asked(there, problems)


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


def _lacking(repository: Repository, remote: str, missing: Collection[str]) -> Iterator[Problem]:
    """What a remote lacks of its own branches' files."""
    branches = run.text("for-each-ref", "--format=%(objectname)", f"refs/remotes/{remote}/")
    for need in needs_of(repository, *branches.split()) if missing and branches else ():
        lost = sorted(need.packs.keys() & set(missing))
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
