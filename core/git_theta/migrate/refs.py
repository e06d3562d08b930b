"""Branches and tags: which ones are rewritten, and how all of them move at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from git_theta.errors import GitError
from git_theta.git import run
from git_theta.migrate.commits import parse_tag, rewrite_tag
from git_theta.migrate.objects import Objects
from git_theta.migrate.writer import NewObjects

MANY = 64
"""Commits that are looked for at once: mostly history has one beginning."""
ORIGINAL = "refs/original/"
"""Where what a ref was before is kept, as git filter-branch does."""


class Ref(NamedTuple):
    """A ref, or a HEAD that is on no branch."""

    name: str
    oid: str


class Move(NamedTuple):
    """A ref that gets another value."""

    name: str
    old: str
    new: str


def all_refs() -> list[Ref]:
    """All branches and tags of the repository."""
    form = "--format=%(objectname) %(refname)"
    answer = run.text("for-each-ref", form, "refs/heads", "refs/tags")
    return [Ref(line[line.index(" ") + 1 :], line.split(" ")[0]) for line in answer.splitlines()]


def leading_to(commits: Sequence[str]) -> list[str]:
    """Branches, tags and a stash from which one of some commits is reached."""
    asked = [f"--contains={commit}" for commit in commits[:MANY]]
    if not asked:
        return []
    where = ("refs/heads", "refs/tags", "refs/stash")
    return run.text("for-each-ref", "--format=%(refname)", *asked, *where).splitlines()


def named_refs(names: Iterable[str]) -> list[Ref]:
    """Branches and tags by name; without names, what is checked out.

    Raises
    ------
    GitError
        When there is no such branch or tag.
    """
    return [_named(name) for name in names] or [_head()]


def _named(name: str) -> Ref:
    query = ("rev-parse", "--verify", "--quiet", "--symbolic-full-name", "--end-of-options", name)
    full = run.text(*query, ok=(0, 1, 128)).split("\n")[-1]
    if not full.startswith(("refs/heads/", "refs/tags/")):
        raise GitError(
            f"Expected a branch or a tag, found {name!r}",
            remedy="git for-each-ref refs/heads refs/tags lists them; --everything takes all",
        )
    return Ref(full, run.text("rev-parse", "--verify", full))


def _head() -> Ref:
    name = run.text("symbolic-ref", "--quiet", "HEAD", ok=(0, 1)) or "HEAD"
    oid = run.text("rev-parse", "--verify", "--quiet", name, ok=(0, 1, 128))
    if not oid:
        raise GitError(
            "Expected a branch with commits, found none yet", remedy="Name one, or --everything"
        )
    return Ref(name, oid)


def target(objects: Objects, oid: str) -> tuple[str, str]:
    """The object that a ref leads to behind tags, and its kind."""
    found = objects.find(oid)
    while found and found.kind == "tag":
        oid = parse_tag(objects.read(oid, "tag")).oid
        found = objects.find(oid)
    return oid, found.kind if found else "nothing"


def rewritten(
    objects: Objects, new: NewObjects, oid: str, commits: Callable[[str], str], unsigned: set[str]
) -> str:
    """What a ref has to be, where ``commits`` gives a commit's new name.

    Tags that lose their signature are added to ``unsigned``.
    """
    found = objects.find(oid)
    if found and found.kind == "commit":
        return commits(oid)
    if found is None or found.kind != "tag":
        return oid
    data = objects.read(oid, "tag")
    old = parse_tag(data).oid
    now = rewritten(objects, new, old, commits, unsigned)
    if now == old:
        return oid
    made = rewrite_tag(data, now)
    if made.was_signed:
        unsigned.add(oid)
    return new.add("tag", made.data)


def check_originals(names: Sequence[str]) -> None:
    """Refuse to overwrite what an earlier migration has kept.

    Raises
    ------
    GitError
        When the former value of a ref is kept already.
    """
    there = set(run.text("for-each-ref", "--format=%(refname)", ORIGINAL).splitlines())
    taken = [name for name in names if ORIGINAL + name in there]
    if taken:
        raise GitError(
            f"{ORIGINAL}{taken[0]} is kept from an earlier rewriting of history",
            remedy="Overwrite it with --force; or, once you need it no more: "
            f"git update-ref -d {ORIGINAL}{taken[0]}",
        )


def move(moves: Sequence[Move], reason: str) -> None:
    """Move all refs or none, and keep what they were under refs/original/.

    Raises
    ------
    GitError
        When one of them has changed meanwhile, or git cannot write them.
    """
    lines = ["start"]
    for name, old, new in moves:
        lines.append(f"update {ORIGINAL}{name} {old}")
        if name == "HEAD":
            lines.append("option no-deref")
        lines.append(f"update {name} {new} {old}")
    lines += ["prepare", "commit", ""]
    run.run("update-ref", "-m", reason, "--stdin", input="\n".join(lines).encode())
