"""``git theta add``: add files without piping them through git."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from git_theta.cli.progress import progress
from git_theta.errors import GitError
from git_theta.git import run
from git_theta.git.filter import clean_received
from git_theta.git.index_file import mark_unchanged
from git_theta.git.received import open_file
from git_theta.git.repository import Repository
from git_theta.git.tracked import has_filter
from git_theta.git.worktree import WorkTree, work_tree

EXAMPLES = """Examples:

\b
  git theta add model.safetensors     as git add, for files too big to pipe
  git theta add .                     everything below this folder
"""

SETTLE = 2**30
"""From so many bytes on, waiting a moment pays: else git would read the file once more."""

CLOCK_TICK = 0.02
"""Seconds by which the time of a file may lag behind."""


@click.command(epilog=EXAMPLES)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path())
def add(paths: tuple[str, ...]) -> None:
    """Add files to the index, as git add does.

    git pipes every file through its filter; this reads tracked files where they lie, which is
    quicker for very large ones. All other files are handed to git add.
    """
    tree = work_tree()
    ours, others = _sort(tree, paths)
    with Repository() as repository:
        stats = {path: _add(repository, tree, path) for path in ours}
    from_file = ("add", "--pathspec-from-file=-", "--pathspec-file-nul")
    if others:
        run.run(*from_file, input=_joined(others), cwd=tree.top, env=run.LITERAL)
    elif not ours:  # git says why: nothing matches, or all of it is ignored
        run.run(*from_file, input=_joined(paths))
    settle(tree.top, stats)


def settle(top: Path, stats: Mapping[str, os.stat_result]) -> None:
    """Record in the index that files were just compared, so that git need not read them again.

    git compares whole seconds, so files of this second cannot be recorded; where reading them
    once more would take long, this waits until the second is over.

    Parameters
    ----------
    top
        The top of the work tree.
    stats
        As :func:`~git_theta.git.index_file.mark_unchanged` wants them.
    """
    now = time.time()
    recent = any(int(stat.st_mtime) == int(now) for stat in stats.values())
    if recent and sum(stat.st_size for stat in stats.values()) >= SETTLE:
        time.sleep(int(now) + 1 + CLOCK_TICK - now)
    if stats:
        mark_unchanged(top, stats)


def _sort(tree: WorkTree, paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """Paths from the top: those that we store, and those that git shall add."""
    listed = run.run(
        "ls-files", "-z", "-c", "-o", "--exclude-standard", "--full-name", "--", *paths
    )
    names = [os.fsdecode(name) for name in dict.fromkeys(listed.split(b"\0")[:-1])]
    regular = [n for n in names if _is_regular(tree.top / n)]
    filtered = has_filter(regular, cwd=tree.top)
    ours = [name for name in regular if name in filtered]
    return ours, [name for name in names if name not in filtered]


def _is_regular(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _add(repository: Repository, tree: WorkTree, path: str) -> os.stat_result:
    file = tree.top / path
    stat = file.stat()
    try:
        with progress(f"Reading {path}", stat.st_size) as advance:
            received = open_file(file, advance)
    except OSError as fault:
        raise GitError(f"Cannot read {path}: {fault}") from fault
    with received:
        text = clean_received(repository, path, received)
    oid = run.text("hash-object", "-w", "--stdin", input=text)
    line = _index_line(tree, path, oid, stat)
    run.run("update-index", "-z", "--index-info", input=line, cwd=tree.top)
    return stat


def _index_line(tree: WorkTree, path: str, oid: str, stat: os.stat_result) -> bytes:
    mode = "100755" if _executable(tree, path, stat) else "100644"
    return os.fsencode(f"{mode} {oid} 0\t{path}") + b"\0"


def _executable(tree: WorkTree, path: str, stat: os.stat_result) -> bool:
    if run.text("config", "--type=bool", "--get", "core.fileMode", ok=(0, 1)) != "false":
        return bool(stat.st_mode & 0o100)
    entry = run.text("ls-files", "-s", "--", path, cwd=tree.top, env=run.LITERAL)
    return entry.startswith("100755")


def _joined(pathspecs: Sequence[str]) -> bytes:
    return b"".join(os.fsencode(pathspec) + b"\0" for pathspec in pathspecs)
