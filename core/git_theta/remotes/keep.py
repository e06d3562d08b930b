"""What a repository must keep at hand, though a remote has it: what prune leaves alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from git_theta.contents import read_contents
from git_theta.errors import MetadataError, PackError, StoreError
from git_theta.git import run
from git_theta.git.repository import Repository
from git_theta.metadata import parse
from git_theta.places import find_places, pack_hints
from git_theta.plugins import installed
from git_theta.remotes.needs import Need, needs_of

RECENT = "theta.pruneRecentDays"
"""The configuration variable: versions in commits that young stay."""
RECENT_DAYS = 10
"""Its value where nobody set it: what git-lfs keeps, seven days and three more."""

EVERYTHING = ("--all", "--reflog", "--indexed-objects")
"""What ``git rev-list`` calls all that a repository refers to, in all of its work trees."""

_BATCH = 1000  # commits on one command line


def recent_days() -> int:
    """How many days versions stay, by the configuration.

    Raises
    ------
    StoreError
        When the variable is no number of days.
    """
    said = run.text("config", "--get", RECENT, ok=(0, 1)) or str(RECENT_DAYS)
    if not said.isdecimal() or len(said) > 6:
        raise StoreError(
            f"Expected a number of days in {RECENT}, found {said!r}",
            remedy=f"Set it anew: git config {RECENT} {RECENT_DAYS}",
        )
    return int(said)


def kept_needs(repository: Repository, days: int) -> Iterator[Need]:
    """The needs of what must stay at hand.

    That is what work trees have checked out or in their index, commits of the last ``days`` days,
    stashes, and commits that no remote-tracking branch has.

    Raises
    ------
    GitError
        When git cannot walk there.
    """
    heads = _heads()
    yield from needs_of(repository, "--no-walk", "--indexed-objects", *heads)
    unpushed = ("--exclude=refs/remotes/*", "--all", *heads, "--not", "--remotes")
    yield from needs_of(repository, *unpushed)
    for commits in (_recent(heads, days), _stashed()):
        for at in range(0, len(commits), _BATCH):
            yield from needs_of(repository, "--no-walk", *commits[at : at + _BATCH])


def local_packs(repository: Repository, need: Need) -> dict[str, int]:
    """The local packs that a version is read from, as far as it is here: names and bytes."""
    store = repository.store
    here = {pack: size for pack, size in need.packs.items() if store.packs.path(pack).is_file()}
    if need.packs and len(here) == len(need.packs):
        return here
    text = repository.blob(need.blob).replace(b"\r\n", b"\n")
    try:
        metadata = parse(text, need.path)
        items = read_contents(metadata, need.path, store=store, plugins=installed())
    except (MetadataError, PackError):  # fsck tells
        return here
    places = find_places(store, [item.buffer for item in items])
    hints = pack_hints([(item.number, item.buffer) for item in items], places, store)
    return here | {hint.pack: hint.nbytes for hint in hints}


def _heads() -> list[str]:
    """The commits that work trees have checked out."""
    lines = run.text("worktree", "list", "--porcelain").splitlines()
    found = (line.removeprefix("HEAD ") for line in lines if line.startswith("HEAD "))
    return [oid for oid in dict.fromkeys(found) if oid.strip("0")]


def _recent(heads: Sequence[str], days: int) -> list[str]:
    """Commits of the last days that a ref or a work tree has."""
    if not days:
        return []
    return run.text("rev-list", f"--since={days}.days.ago", "--all", *heads).split()


def _stashed() -> list[str]:
    """The commits that stashes are made of."""
    options = ("--walk-reflogs", "--ignore-missing", "--parents", "--end-of-options")
    listed = run.text("rev-list", *options, "refs/stash", ok=(0, 128)).splitlines()
    fields = (line.split() for line in listed)
    return list(dict.fromkeys(oid for stash, _, *rest in fields for oid in (stash, *rest)))
