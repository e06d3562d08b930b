"""Which paths git-theta stores: in the index, or in a commit."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from git_theta.errors import GitError
from git_theta.git import run
from git_theta.git.repository import Repository
from git_theta.metadata import MAX_BYTES, Head, parse_head

_LETTERS = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 34: '"', 92: "\\"}


class Entry(NamedTuple):
    """A path that git has metadata for."""

    path: str
    """From the top of the work tree."""
    oid: str
    """Of the metadata's blob."""
    executable: bool
    head: Head


class Listed(NamedTuple):
    """A file as git lists it; no link, no submodule."""

    path: str
    oid: str
    executable: bool


def has_filter(
    paths: Sequence[str],
    *,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    cached: bool = False,
) -> set[str]:
    """Those of ``paths`` (from ``cwd``) whose attributes say ``filter=theta``.

    Parameters
    ----------
    paths
        What to ask for.
    cwd
        Folder that they start from; None: the current one.
    env
        Variables for git.
    cached
        Whether to read attributes files from the index instead of the work tree.
    """
    if not paths:
        return set()
    names = b"".join(os.fsencode(path) + b"\0" for path in paths)
    options = ["--cached"] if cached else []
    answer = run.run(
        "check-attr", *options, "-z", "--stdin", "filter", input=names, cwd=cwd, env=env
    )
    fields = answer.split(b"\0")
    return {
        os.fsdecode(path)
        for path, value in zip(fields[0::3], fields[2::3], strict=False)
        if value == b"theta"
    }


def entries(
    repository: Repository,
    revision: str | None,
    paths: Sequence[str] = (),
    *,
    everywhere: bool = False,
) -> Iterator[Entry]:
    """Paths that git has metadata for, in the index or in a revision.

    Parameters
    ----------
    repository
        Where blobs are read.
    revision
        A commit or tree; None: the index.
    paths
        Pathspecs, from the current folder; none: everything below it, as ``git ls-files`` has it.
    everywhere
        Whether to start from the top of the work tree instead of the current folder.

    Raises
    ------
    GitError
        When there is no such revision, or git refuses a path in it.
    """
    candidates = (
        tracked_in_index(paths, everywhere=everywhere)
        if revision is None
        else _in_tree(revision, paths, everywhere=everywhere)
    )
    for path, oid, executable in candidates:
        found = repository.objects([oid])[0]
        if found and found[1] == "blob" and 0 < found[2] <= MAX_BYTES:
            head = parse_head(repository.blob(oid))
            if head:
                yield Entry(path, oid, executable, head)


def tracked_in_index(paths: Sequence[str] = (), *, everywhere: bool = False) -> list[Listed]:
    """Files of the index whose attributes say ``filter=theta``; all where no work tree is.

    Parameters are those of :func:`entries`.
    """
    top = _top()
    listed = _list(paths, cwd=top if everywhere else None)
    if top is None:
        return listed
    filtered = has_filter([item.path for item in listed], cwd=top)
    return [item for item in listed if item.path in filtered]


def has_index() -> bool:
    """Whether there is an index; not in a bare repository, nor where a clone's checkout failed."""
    return Path(run.text("rev-parse", "--git-path", "index")).exists()


def find_tree(revision: str) -> str:
    """The tree of a revision; "" where there is no such revision."""
    quietly = ("rev-parse", "--verify", "--quiet", "--end-of-options")
    return run.text(*quietly, f"{revision}^{{tree}}", ok=(0, 1, 128))


def quoted(path: str) -> str:
    """A path as text for people: in C quotes, as git has it, where it has control characters."""
    if path.isprintable() and '"' not in path and "\\" not in path:
        return path
    escaped = (
        f"\\{_LETTERS[byte]}"
        if byte in _LETTERS
        else chr(byte)
        if 32 <= byte < 127
        else f"\\{byte:03o}"
        for byte in os.fsencode(path)
    )
    return f'"{"".join(escaped)}"'


def _top() -> Path | None:
    """The top of the work tree; None in a bare repository and in git's own folder."""
    if run.text("rev-parse", "--is-inside-work-tree", ok=(0, 128)) != "true":
        return None
    return Path(run.text("rev-parse", "--show-toplevel"))


def _list(
    paths: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> list[Listed]:
    found = []
    args = ("ls-files", "-s", "-z", "--full-name", "--", *paths)
    for line in run.run(*args, cwd=cwd, env=env).split(b"\0")[:-1]:
        fields, _, path = line.partition(b"\t")
        mode, oid, stage = fields.decode().split(" ")
        if stage == "0" and mode.startswith("100"):
            found.append(Listed(os.fsdecode(path), oid, mode == "100755"))
    return found


def _in_tree(revision: str, paths: Sequence[str], *, everywhere: bool) -> list[Listed]:
    """Files of a revision that were tracked then, or are now.

    A scratch index is made of it: git refuses paths then that must not be written, takes
    pathspecs as it does for the index, and reads the attributes of that time.
    """
    import tempfile  # not where a filter asks for what is in the index

    tree = find_tree(revision)
    if not tree:
        raise GitError(
            f"Expected a commit or a tree, found {revision!r}",
            remedy="git log --oneline --all lists commits; put -- before a path",
        )
    top = _top()
    with tempfile.TemporaryDirectory(prefix="git-theta-") as scratch:
        env = {"GIT_INDEX_FILE": str(Path(scratch, "index"))}
        run.run("-c", "core.splitIndex=false", "read-tree", tree, env=env)
        listed = _list(paths, cwd=top if everywhere else None, env=env)
        names = [item.path for item in listed]
        # git wants some work tree here, even though it reads nothing in it
        elsewhere = {} if top else {"GIT_WORK_TREE": scratch}
        filtered = has_filter(names, cwd=top, env=env | elsewhere, cached=True)
    if top:
        filtered |= has_filter(names, cwd=top)
    return [item for item in listed if item.path in filtered]
