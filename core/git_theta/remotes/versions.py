"""Which versions of files a command is about: of the index, of revisions, recent ones, all."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from git_theta.errors import GitError
from git_theta.git import run
from git_theta.git.promised import fetch_promised
from git_theta.git.repository import Repository
from git_theta.git.tracked import entries, has_index
from git_theta.remotes.needs import needs_of
from git_theta.remotes.trust import printable

RECENT_DAYS = 7
"""How old the tip of a recent branch or tag may be, unless the configuration says otherwise."""

RECENT = "theta.recentDays"
"""The variable that says otherwise."""

Version = tuple[str, str]
"""Path and id of the metadata."""


def pathspecs(include: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """Paths from the current folder, as git takes them; nothing: everything."""
    outside = [f":(exclude){path}" for path in exclude]
    return [*(include or ([":(top)"] if exclude else [])), *outside]


def in_index(repository: Repository, paths: Sequence[str] = ()) -> Iterator[Version]:
    """The versions in the index, or in HEAD where there is no index.

    ``paths`` are git's pathspecs, from the current folder; none: everything.
    """
    if not has_index():
        if repository.objects(["HEAD"])[0]:
            yield from in_trees(repository, ["HEAD"], paths)
        return
    for entry in entries(repository, None, paths, everywhere=not paths):
        yield entry.path, entry.oid


def in_trees(
    repository: Repository, revisions: Sequence[str], paths: Sequence[str] = ()
) -> Iterator[Version]:
    """The versions in the trees of commits, branches and tags.

    Raises
    ------
    GitError
        When there is no such revision.
    """
    trees: dict[str, None] = {}
    found = repository.objects([f"{revision}^{{tree}}" for revision in revisions])
    for revision, tree in zip(revisions, found, strict=True):
        if tree is None:
            raise GitError(
                f"Expected a branch, a tag or a commit, found {printable(revision)!r}",
                remedy="git branch --all lists branches; git fetch gets those of a remote",
            )
        trees[tree[0]] = None
    if trees:
        fetch_promised(list(trees), paths, trees=True)
        yield from _walk(repository, *trees, "--", *paths)


def in_history(repository: Repository, paths: Sequence[str] = ()) -> Iterator[Version]:
    """The versions in everything that branches, tags and other refs reach."""
    fetch_promised(["--all", "--full-history"], paths)
    yield from _walk(repository, "--all", "--full-history", "--", *paths)


def recent_tips(days: int | None = None) -> list[str]:
    """The commits of branches, remotes' branches and tags that are younger than so many days.

    None: as ``theta.recentDays`` says, 7 where it says nothing.
    """
    oldest = time.time() - 86400 * (recent_days() if days is None else days)
    form = "%(objectname) %(committerdate:unix)%(*committerdate:unix)"
    listed = run.text("for-each-ref", f"--format={form}", "refs/heads", "refs/remotes", "refs/tags")
    pairs = (line.split(" ") for line in listed.splitlines())
    return list(dict.fromkeys(oid for oid, when in pairs if when and int(when) >= oldest))


def recent_days() -> int:
    """How many days count as recent here."""
    said = run.text("config", "--type=int", "--get", RECENT, ok=(0, 1))
    return int(said) if said else RECENT_DAYS


def _walk(repository: Repository, *revisions: str) -> Iterator[Version]:
    for need in needs_of(repository, *revisions):
        yield need.path, need.blob
