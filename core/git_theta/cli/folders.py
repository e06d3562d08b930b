"""Checkpoints that are folders, where commands meet them: in the work tree, and in git's lists."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from git_theta.formats.folders import Folder, find_folders
from git_theta.git import run
from git_theta.git.worktree import WorkTree
from git_theta.plugins import installed


class Chosen(NamedTuple):
    """The patterns that an argument of ``track`` or ``untrack`` stands for."""

    patterns: tuple[str, ...]
    folder: Folder | None = None
    """What the argument is, where it is a checkpoint that is a folder."""
    whole: str = ""
    """Then the pattern for all of its files."""


def expand(tree: WorkTree, argument: str, pattern: str) -> Chosen:
    """What to track where an argument names a folder: of a checkpoint what belongs to it.

    Parameters
    ----------
    tree, argument
        The work tree, and what a user typed.
    pattern
        What it stands for, as :func:`git_theta.git.patterns.from_argument` has it.
    """
    path = Path(os.path.normpath(tree.folder / argument))
    if not pattern.endswith("**") or argument.endswith("**") or not path.is_dir():
        return Chosen((pattern,))
    folder = find_folders(_files_below(path), installed()).get("")
    if folder is None:
        return Chosen((pattern,))
    start = pattern.removesuffix("**")
    return Chosen(tuple(start + inner for inner in folder.patterns), folder, pattern)


def _files_below(folder: Path) -> list[str]:
    """Files that git has or would take, from the folder they are asked for."""
    listed = run.run("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=folder)
    return list(dict.fromkeys(os.fsdecode(listed).split("\0")[:-1]))


def listed_folders(revision: str | None, top: Path | None) -> dict[str, Folder]:
    """The checkpoints that are folders in the index or in a revision, by path from the top."""
    command: Sequence[str] = ("ls-files", "-z", "--full-name")
    if revision is not None:
        command = ("ls-tree", "-r", "-z", "--name-only", "--full-tree", revision)
    names = os.fsdecode(run.run(*command, cwd=top)).split("\0")[:-1]
    return find_folders(list(dict.fromkeys(names)), installed())
