"""All metadata that a repository's history refers to."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

from git_theta.errors import GitError
from git_theta.git import run
from git_theta.git.repository import Repository
from git_theta.git.tracked import entries
from git_theta.metadata import FIRST_LINE, MAX_BYTES, looks_like_metadata


def all_metadata(repository: Repository) -> Iterator[tuple[str, str, bytes]]:
    """Every blob of metadata that a ref, a reflog or the index reaches: path, id, text.

    A blob is given once, under the first path at which it was found.

    Raises
    ------
    GitError
        When git cannot walk the history.
    """
    named: dict[str, str] = {}
    for line in run.run("rev-list", "--objects", "--all", "--reflog").split(b"\n"):
        name, _, path = line.partition(b" ")
        if path:
            named.setdefault(name.decode(), os.fsdecode(path))
    for entry in entries(repository, None, everywhere=True):
        named.setdefault(entry.oid, entry.path)
    for oid in _blobs(list(named)):
        text = repository.blob(oid)
        if looks_like_metadata(text):
            yield named[oid], oid, text


def _blobs(oids: list[str]) -> list[str]:
    """Those that are blobs of a size that metadata can have."""
    answer = subprocess.run(
        ["git", "cat-file", "--batch-check"],
        input="\n".join([*oids, ""]).encode(),
        capture_output=True,
    )
    if answer.returncode:
        raise GitError(f"git cat-file failed: {answer.stderr.decode(errors='replace').strip()}")
    found: list[str] = []
    for line in answer.stdout.decode(errors="replace").splitlines():
        oid, kind, *size = line.split(" ")
        if kind == "blob" and len(FIRST_LINE) < int(size[0]) <= MAX_BYTES:
            found.append(oid)
    return found
