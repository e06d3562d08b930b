"""``git theta add``: add files without piping them through git."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from git_theta.allocator import keep_freed_memory
from git_theta.cli.install import install_if_possible
from git_theta.cli.update_types import UPDATE_TYPE
from git_theta.errors import GitError
from git_theta.git import run
from git_theta.git.answers import clean_received
from git_theta.git.index_file import mark_unchanged
from git_theta.git.received import open_file
from git_theta.git.repository import Repository
from git_theta.git.tracked import has_filter
from git_theta.git.worktree import WorkTree, work_tree
from git_theta.progress import progress

if TYPE_CHECKING:
    from git_theta.cli.added import Added

EXAMPLES = """Examples:

\b
  git theta add model.safetensors     as git add, for files too big to pipe
  git theta add .                     everything below this folder

\b
Store new parameter groups by themselves, not by what they differ in:
  git theta add model.pt --update-type dense

\b
Merge a PEFT adapter into a model, and store only its factors:
  git theta add model.pt --update-type low-rank --update-path lora/

\b
Change the values that a file tells, and store only those:
  git theta add model.pt --update-type sparse --update-path changes.npz

An update file names its values by group: GROUP/R and GROUP/C for low-rank (R @ C is added),
GROUP/data, GROUP/indices, GROUP/indptr and GROUP/shape for sparse (a SciPy CSR matrix is added),
GROUP/ia3 for scale (a vector is multiplied), GROUP for dense. It may be of any format that
git-theta knows.
"""

SETTLE = 2**30
"""From so many bytes on, waiting a moment pays: else git would read the file once more."""

_FROM_FILE = ("add", "--pathspec-from-file=-", "--pathspec-file-nul")

CLOCK_TICK = 0.02
"""Seconds by which the time of a file may lag behind."""


@click.command(epilog=EXAMPLES)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path())
@click.option(
    "--update-type",
    metavar="NAME",
    type=UPDATE_TYPE,
    help="Store new parameter groups by this update type, where that is possible.",
)
@click.option(
    "--update-path",
    metavar="FILE",
    type=click.Path(exists=True, path_type=Path),
    help="Apply an update to PATH: a file with factors or values, or a PEFT adapter's folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was stored as JSON.")
def add(
    paths: tuple[str, ...], update_type: str | None, update_path: Path | None, as_json: bool
) -> None:
    """Add files to the index, as git add does.

    git pipes every file through its filter; this reads tracked files where they lie, which is
    quicker for very large ones. All other files are handed to git add.

    With --update-path PATH gets new values: those that are in git, changed by the update. The file
    in the work tree is written anew, and of the groups that changed only the update is stored.
    """
    if update_path and not update_type:
        raise click.UsageError("--update-path needs --update-type: what kind of update it is")
    tree = work_tree()
    ours, others = _sort(tree, paths)
    if update_path and (len(ours) != 1 or others):
        raise click.UsageError(
            f"--update-path updates one tracked file, found {len(ours)} tracked and "
            f"{len(others)} other files at {' '.join(paths)}"
        )
    _refuse_unmatched(paths)
    if others:
        run.run(*_FROM_FILE, input=_joined(others), cwd=tree.top, env=run.LITERAL)
    if ours:
        install_if_possible()
    added: list[Added] = []
    keep_freed_memory()
    with Repository() as repository:
        if update_path and update_type:
            stats = {ours[0]: _tell(repository, tree, ours[0], update_path, update_type, added)}
        elif update_type or as_json:
            stats = {path: _report(repository, tree, path, update_type, added) for path in ours}
        else:
            stats = {path: _add(repository, tree, path)[0] for path in ours}
    settle(tree.top, stats)
    if as_json:
        click.echo(json.dumps([one.as_json() for one in added], indent=2))
    else:
        for one in added:
            click.echo(one.as_text())


def _refuse_unmatched(paths: Sequence[str]) -> None:
    """Have git say why it would add nothing at a path: there is nothing, or it is ignored."""
    known = ("ls-files", "-c", "-o", "--exclude-standard", "--error-unmatch", "--")
    with suppress(GitError):
        run.run(*known, *paths)
        return
    for path in paths:
        try:
            run.run(*known, path)
        except GitError:
            run.run(*_FROM_FILE, input=_joined([path]))


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
    options = ("-z", "-t", "-c", "-o", "--exclude-standard", "--full-name")
    listed = run.run("ls-files", *options, "--", *paths)
    tagged = [os.fsdecode(line).split(" ", 1) for line in listed.split(b"\0")[:-1]]
    names = [
        name
        for name, tag in {name: tag for tag, name in tagged}.items()
        if tag != "S" or os.path.lexists(tree.top / name)  # else a sparse checkout leaves it out
    ]
    regular = [n for n in names if _is_regular(tree.top / n)]
    filtered = has_filter(regular, cwd=tree.top)
    ours = [name for name in regular if name in filtered]
    return ours, [name for name in names if name not in filtered]


def _is_regular(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _tell(
    repository: Repository,
    tree: WorkTree,
    path: str,
    update_path: Path,
    name: str,
    added: list[Added],
) -> os.stat_result:
    from git_theta.cli.added import ToldAs, describe
    from git_theta.cli.update import apply_update
    from git_theta.plugins import installed

    before = repository.store.packs.packs()
    update_type = installed().update_type(name)
    put = partial(_put_into_index, tree, path)
    applied = apply_update(repository, tree.top, path, update_path, update_type, put)
    told = {
        target.told.group: ToldAs(target.told.update_type, target.rank)
        for target in applied.targets
    }
    found = describe(repository.store, before, path, applied.text, name)
    added.append(found._replace(told=told, same=tuple(applied.same)))
    return applied.stat


def _report(
    repository: Repository, tree: WorkTree, path: str, name: str | None, added: list[Added]
) -> os.stat_result:
    from git_theta.cli.added import describe

    before = repository.store.packs.packs()
    stat, text = _add(repository, tree, path, name)
    added.append(describe(repository.store, before, path, text, name or ""))
    return stat


def _add(
    repository: Repository, tree: WorkTree, path: str, update_type: str | None = None
) -> tuple[os.stat_result, bytes]:
    form = None
    if update_type:
        from git_theta.updates.choose import Form

        form = Form(update_type)
    file = tree.top / path
    stat = file.stat()
    try:
        with progress(f"Reading {path}", stat.st_size) as advance:
            received = open_file(file, advance)
    except OSError as fault:
        raise GitError(f"Cannot read {path}: {fault}") from fault
    with received:
        text = clean_received(repository, path, received, form=form)
    _put_into_index(tree, path, text, stat)
    return stat, text


def _put_into_index(tree: WorkTree, path: str, text: bytes, stat: os.stat_result) -> None:
    oid = run.text("hash-object", "-w", "--stdin", input=text)
    line = _index_line(tree, path, oid, stat)
    run.run("update-index", "-z", "--index-info", input=line, cwd=tree.top)


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
