"""Work trees whose branch is rewritten: nothing in them may be lost, and git is to be quiet."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from git_theta.errors import LocalChangesError
from git_theta.git import run
from git_theta.git.index_file import mark_unchanged
from git_theta.git.tracked import quoted

_UNFINISHED = (
    "MERGE_HEAD",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
    "BISECT_LOG",
    "rebase-merge",
    "rebase-apply",
)
_AS_TEXT = {"GIT_THETA_SKIP_SMUDGE": "1", "GIT_LFS_SKIP_SMUDGE": "1"}


class WorkTreeOf(NamedTuple):
    """A work tree."""

    top: Path
    head: str
    """The commit that is checked out."""
    branch: str
    """Nothing: it is on none."""


class Follower(NamedTuple):
    """A work tree that follows its branch."""

    tree: WorkTreeOf
    commit: str


class _Change(NamedTuple):
    path: str
    old: str
    new: str
    old_mode: str


def work_trees() -> list[WorkTreeOf]:
    """The work trees of this repository that are there, with commits in them."""
    found = []
    for block in run.text("worktree", "list", "--porcelain").split("\n\n"):
        fields = dict(line.partition(" ")[::2] for line in block.split("\n") if line)
        top = Path(fields.get("worktree", ""))
        head = fields.get("HEAD", "")
        if "bare" not in fields and head.strip("0") and (top / ".git").exists():
            found.append(WorkTreeOf(top, head, fields.get("branch", "")))
    return found


def check_clean(tree: WorkTreeOf) -> dict[str, os.stat_result]:
    """Refuse a work tree with changes; the stats of its files from before git looked at them.

    Raises
    ------
    LocalChangesError
        When something is not committed, or a merge or a rebase is under way.
    """
    for name in _UNFINISHED:
        if (tree.top / run.text("rev-parse", "--git-path", name, cwd=tree.top)).exists():
            raise LocalChangesError(
                f"Expected a work tree at rest, found {name} in {tree.top}",
                remedy="Finish or abort what git status tells about, then run the command again",
            )
    listed = run.run("ls-files", "-z", cwd=tree.top).split(b"\0")[:-1]
    stats = {}
    for path in map(os.fsdecode, listed):
        try:
            stats[path] = (tree.top / path).lstat()
        except OSError:
            continue
    said = run.run("status", "--porcelain", "-z", "--untracked-files=no", cwd=tree.top)
    if said:
        first = quoted(os.fsdecode(said.split(b"\0")[0][3:]))
        raise LocalChangesError(
            f"Expected a work tree without changes at {tree.top}, found one in {first}",
            remedy="Commit or stash what git status lists, then run the command again",
        )
    return stats


def check_room(tree: WorkTreeOf, new: str) -> None:
    """Refuse where a file that git does not know lies at a path that a new commit has.

    Raises
    ------
    LocalChangesError
        Naming the file.
    """
    for change in _changes(tree, tree.head, new):
        if change.old_mode == "000000" and os.path.lexists(tree.top / change.path):
            raise LocalChangesError(
                f"{quoted(change.path)} is not in git, and the new history has such a file",
                remedy="Add it and commit, or move it away, then run the command again",
            )


def follow(
    tree: WorkTreeOf,
    new: str,
    is_text: Callable[[str], bool],
    stats: Mapping[str, os.stat_result],
) -> None:
    """Make index and files those of a new commit.

    Parameters
    ----------
    tree
        The work tree, as it was at the old commit.
    new
        The commit.
    is_text
        Whether an old blob is a text that stands for a file.
    stats
        Of files that were as the old commit has them.
    """
    run.run("read-tree", "-i", "-m", tree.head, new, cwd=tree.top)
    same, texts, others = {}, [], []
    for change in _changes(tree, tree.head, new):
        if change.path.rpartition("/")[2] == ".gitattributes":
            others.append(change.path)
        elif is_text(change.old) and _holds(tree.top / change.path, change.old):
            texts.append(change.path)  # its file was never fetched: now the new text stands for it
        elif change.path in stats:
            same[change.path] = stats[change.path]
    for paths, env in ((others, {}), (texts, _AS_TEXT)):
        run.run(
            *("checkout-index", "--force", "-u", "-z", "--stdin"),
            input=b"".join(os.fsencode(path) + b"\0" for path in paths),
            cwd=tree.top,
            env=env,
        )
    if same and Path(run.text("rev-parse", "--show-toplevel")).resolve() == tree.top.resolve():
        mark_unchanged(tree.top, same)


def _changes(tree: WorkTreeOf, old: str, new: str) -> Iterator[_Change]:
    options = ("-r", "-z", "--raw", "--no-renames", "--no-abbrev")
    fields = run.run("diff-tree", *options, old, new, cwd=tree.top).split(b"\0")
    for words, path in zip(fields[0::2], fields[1::2], strict=False):
        mode, _, before, after, _ = words.decode().lstrip(":").split(" ")
        yield _Change(os.fsdecode(path), before, after, mode)


def _holds(file: Path, oid: str) -> bool:
    """Whether a file has the very bytes of a blob."""
    algorithm = "sha1" if len(oid) == 40 else "sha256"
    try:
        size = file.lstat().st_size
        hasher = hashlib.new(algorithm, f"blob {size}\0".encode(), usedforsecurity=False)
        with file.open("rb") as data:
            while block := data.read(2**20):
                hasher.update(block)
    except OSError:
        return False
    return hasher.hexdigest() == oid


def affected(trees: Iterable[WorkTreeOf], moved: Mapping[str, str]) -> list[Follower]:
    """Work trees that have something else checked out once refs have moved.

    ``moved`` has what a ref is then, by its name; of a HEAD that is on no branch, by ``HEAD``, and
    only for the work tree of the current folder.
    """
    here = run.text("rev-parse", "--show-toplevel", ok=(0, 128))
    found = []
    for tree in trees:
        own = "HEAD" if here and tree.top.resolve() == Path(here).resolve() else ""
        new = moved.get(tree.branch or own)
        if new is not None:
            found.append(Follower(tree, new))
    return found
