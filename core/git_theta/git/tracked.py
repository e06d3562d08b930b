"""Which paths git-theta stores: in the index, or in a commit."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from git_theta.errors import GitError
from git_theta.git import run
from git_theta.git.repository import Repository
from git_theta.metadata import MAX_BYTES, Head, parse_head


class Entry(NamedTuple):
    """A path that git has metadata for."""

    path: str
    """From the top of the work tree."""
    oid: str
    """Of the metadata's blob."""
    head: Head


class Listed(NamedTuple):
    """A file as git lists it."""

    path: str
    oid: str
    mode: str


def has_filter(paths: Sequence[str], *, cwd: str | None = None) -> set[str]:
    """Those of ``paths`` (from ``cwd``) whose attributes say ``filter=theta``."""
    if not paths:
        return set()
    names = b"".join(os.fsencode(path) + b"\0" for path in paths)
    answer = run.run("check-attr", "-z", "--stdin", "filter", input=names, cwd=cwd)
    fields = answer.split(b"\0")
    return {
        os.fsdecode(path)
        for path, value in zip(fields[0::3], fields[2::3], strict=False)
        if value == b"theta"
    }


def entries(
    repository: Repository, revision: str | None, paths: Sequence[str] = ()
) -> Iterator[Entry]:
    """Paths that git has metadata for, in the index or in a revision.

    Parameters
    ----------
    repository
        Where blobs are read.
    revision
        A commit or tree; None: the index.
    paths
        Pathspecs, from the current folder; none: everything.

    Raises
    ------
    GitError
        When there is no such revision.
    """
    listed = _in_index(paths) if revision is None else _in_tree(revision, paths)
    candidates = listed if _is_bare() else _with_filter(listed)
    for path, oid, _ in candidates:
        found = repository.objects([oid])[0]
        if found and found[1] == "blob" and 0 < found[2] <= MAX_BYTES:
            head = parse_head(repository.blob(oid))
            if head:
                yield Entry(path, oid, head)


def _is_bare() -> bool:
    return run.text("rev-parse", "--is-inside-work-tree", ok=(0, 128)) != "true"


def _with_filter(listed: Sequence[Listed]) -> list[Listed]:
    top = run.text("rev-parse", "--show-toplevel")
    filtered = has_filter([item.path for item in listed], cwd=top)
    return [item for item in listed if item.path in filtered]


def _in_index(paths: Sequence[str]) -> list[Listed]:
    found = []
    for line in run.run("ls-files", "-s", "-z", "--full-name", "--", *paths).split(b"\0")[:-1]:
        fields, _, path = line.partition(b"\t")
        mode, oid, stage = fields.decode().split(" ")
        if stage == "0" and mode.startswith("100"):
            found.append(Listed(os.fsdecode(path), oid, mode))
    return found


def _in_tree(revision: str, paths: Sequence[str]) -> list[Listed]:
    tree = run.text(
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        f"{revision}^{{tree}}",
        ok=(0, 1, 128),
    )
    if not tree:
        raise GitError(
            f"Expected a commit or a tree, found {revision!r}",
            remedy="git log --oneline --all lists commits; put -- before a path",
        )
    found = []
    args = ["ls-tree", "-r", "-z", "--full-name", *(() if paths else ("--full-tree",)), tree]
    for line in run.run(*args, "--", *paths).split(b"\0")[:-1]:
        fields, _, path = line.partition(b"\t")
        mode, kind, oid = fields.decode().split(" ")
        if kind == "blob" and mode.startswith("100"):
            found.append(Listed(os.fsdecode(path), oid, mode))
    return found
