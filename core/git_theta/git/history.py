"""Metadata that a repository's history refers to: all of it, or what a file may descend from."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice, takewhile
from pathlib import PurePosixPath

from git_theta.errors import GitError
from git_theta.git import run
from git_theta.git.promised import fetch_promised
from git_theta.git.repository import Repository
from git_theta.git.tracked import entries
from git_theta.metadata import FIRST_LINE, MAX_BYTES, looks_like_metadata

MAX_COMMITS = 256
"""How many of the last commits are searched for what a file may descend from."""
MAX_OLDER = 12
"""Most versions that a file is compared with."""
MAX_RANKED = 2048
"""Most files whose paths are compared with its path."""
MAX_TEXT = 16 * 2**20
"""Bytes of their metadata together: parsing takes time."""


def older_metadata(repository: Repository, path: str) -> Iterator[bytes]:
    """Metadata of what a file may descend from, the likeliest first.

    Versions of the path in the last commits of all branches, then files of the same suffix there
    and in the index, those first whose paths end alike: a trainer may save each step into a folder
    of its own, of many files.
    """
    same: dict[str, None] = {}
    others: dict[str, str] = {}
    suffix = PurePosixPath(path).suffix
    changed, staged = _candidates(repository)
    for oid, where in changed:
        if where == path:
            same[oid] = None
        elif PurePosixPath(where).suffix == suffix:
            others.setdefault(oid, where)
    for oid, where in staged:
        if where != path:
            others.setdefault(oid, where)
    found, nbytes = 0, 0
    alike = sorted(
        islice(others, MAX_RANKED), key=lambda oid: _common_end(path, others[oid]), reverse=True
    )
    for oid in {**same, **dict.fromkeys(alike), **others}:
        size = _size(repository, oid)
        if not size or nbytes + size > MAX_TEXT:
            continue
        text = repository.blob(oid).replace(b"\r\n", b"\n")
        if looks_like_metadata(text):
            yield text
            found, nbytes = found + 1, nbytes + size
        if found == MAX_OLDER:
            return


@lru_cache(1)  # while a filter runs, git changes no ref, and not the index that it reads
def _candidates(
    repository: Repository,
) -> tuple[Sequence[tuple[str, str]], Sequence[tuple[str, str]]]:
    """Blobs of the last commits, the last first, and of the index: id, path."""
    staged = [(entry.oid, entry.path) for entry in entries(repository, None, everywhere=True)]
    return list(_changed(repository)), staged


def _common_end(one: str, other: str) -> tuple[int, int]:
    """How many last parts two paths have in common, and how many their folders have."""
    pairs = list(zip(reversed(one.split("/")), reversed(other.split("/")), strict=False))
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    folders = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs[1:]))
    return common, folders


def _changed(repository: Repository) -> Iterator[tuple[str, str]]:
    """Blobs that the last commits put at or took from a path, the last first: id, path."""
    form = ("--no-show-signature", "--format=", "--raw", "-z", "--no-abbrev", "--no-renames")
    ends = (f"-{MAX_COMMITS}", "--all", "--end-of-options", "--")
    answer = run.run("log", *form, *ends, ok=(0, 128))
    fields = answer.split(b"\0")
    for change, path in zip(fields[0::2], fields[1::2], strict=False):
        _, _, old, new, _ = change.lstrip(b"\n").split(b" ")
        for oid in (new, old):
            if oid.strip(b"0"):
                yield oid.decode(), os.fsdecode(path)


def _size(repository: Repository, oid: str) -> int:
    """Length in bytes of a blob that may be metadata, else 0."""
    (found,) = repository.objects([oid])
    metadata = found and found[1] == "blob" and len(FIRST_LINE) < found[2] <= MAX_BYTES
    return found[2] if found and metadata else 0


def all_metadata(repository: Repository) -> Iterator[tuple[str, str, bytes]]:
    """Every blob of metadata that a ref, a reflog or an index reaches: path, id, text.

    The oldest first, and last what only an index has: those of all work trees, with all sides of
    conflicts, whatever attributes say. A blob is given once, under the first path at which it was
    found, or its id where it has none. What ``git replace`` hides is reached as well; what a
    partial clone left at its remote is fetched at once.

    Raises
    ------
    GitError
        When git cannot walk the history.
    """
    named: dict[str, str] = {}
    everything = ("--objects", "--missing=allow-promisor")
    fetch_promised(("--all", "--reflog"))
    for options in (("--topo-order", "--reverse", "--all", "--reflog"), ("--indexed-objects",)):
        for line in run.run("rev-list", *everything, *options, env=run.UNREPLACED).split(b"\n"):
            name, space, path = line.partition(b" ")
            if space:  # commits have none
                named.setdefault(name.decode(), os.fsdecode(path or name))
    for oid in _blobs(list(named)):
        text = repository.blob(oid)
        if looks_like_metadata(text):
            yield named[oid], oid, text


def origins() -> dict[str, tuple[str, str]]:
    """The commit that first put a blob anywhere, by the blob's id: the commit's id and its date.

    Of every commit that a ref or a reflog reaches, whatever ``git replace`` says.

    Raises
    ------
    GitError
        When git cannot walk the history.
    """
    walk = ("--no-show-signature", "--topo-order", "--reverse", "--all", "--reflog")
    form = ("--format=%H %cs", "--raw", "-m", "--root", "--no-abbrev", "--no-renames")
    found: dict[str, tuple[str, str]] = {}
    commit = date = ""
    for line in run.run("log", *walk, *form, env=run.UNREPLACED).split(b"\n"):
        if line.startswith(b":"):
            found.setdefault(line.split(b" ")[3].decode(), (commit, date))
        elif line:
            commit, date = line.decode().split(" ")
    return found


def _blobs(oids: list[str]) -> list[str]:
    """Those that are blobs of a size that metadata can have."""
    answer = subprocess.run(
        ["git", "cat-file", "--batch-check"],
        input="\n".join([*oids, ""]).encode(),
        capture_output=True,
        env=os.environ | run.UNREPLACED,
    )
    if answer.returncode:
        raise GitError(f"git cat-file failed: {answer.stderr.decode(errors='replace').strip()}")
    found: list[str] = []
    for line in answer.stdout.decode(errors="replace").splitlines():
        oid, kind, *size = line.split(" ")
        if kind == "blob" and len(FIRST_LINE) < int(size[0]) <= MAX_BYTES:
            found.append(oid)
    return found
