"""History before and after, as git itself tells them apart: only what should differ does."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple

from git_theta.errors import GitError
from git_theta.git.matching import FILE
from git_theta.migrate.objects import PLAIN

_FIELD = 2**16


class _Change(NamedTuple):
    fields: list[str]
    """Modes and names before and after, and what happened."""
    path: str


def compare_trees(pairs: Path, converted: Mapping[str, str]) -> int:
    """Make sure that trees differ in converted files and attributes files only; how many were read.

    Parameters
    ----------
    pairs
        A file with a line for each two trees.
    converted
        New blobs by old ones.

    Raises
    ------
    GitError
        When anything else differs.
    """
    command = ("git", "diff-tree", "--stdin", "-r", "-z", "--raw", "--no-renames", "--no-abbrev")
    count = 0
    with (
        pairs.open("rb") as asked,
        subprocess.Popen(
            command, stdin=asked, stdout=subprocess.PIPE, env={**os.environ, **PLAIN}
        ) as process,
    ):
        assert process.stdout
        for change in _changes(process.stdout):
            old_mode, new_mode, old, new, _ = change.fields
            if change.path.rpartition("/")[2] != FILE and (
                old_mode.lstrip(":") != new_mode or converted.get(old) != new
            ):
                raise GitError(
                    f"{change.path}: expected {converted.get(old, old)} in the new history, found "
                    f"{new}",
                    remedy="Nothing has changed; this is a bug in git-theta",
                )
            count += 1
    if process.returncode:
        raise GitError(f"git diff-tree failed with exit code {process.returncode}")
    return count


def _changes(output: IO[bytes]) -> Iterator[_Change]:
    rest = b""
    fields: list[str] = []
    while block := output.read(_FIELD):
        *words, rest = (rest + block).split(b"\0")
        for word in words:
            if fields:
                yield _Change(fields, os.fsdecode(word))
                fields = []
            else:  # the first change of a pair stands behind the pair's own line
                fields = word.rpartition(b"\n")[2].decode().split(" ")
