"""``git theta checkout``: write files without git holding them in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from git_theta.cli.add import SETTLE, settle
from git_theta.cli.progress import human_size, progress
from git_theta.errors import GitError, LocalChangesError, StoreError
from git_theta.git import run
from git_theta.git.index_file import mark_unchanged
from git_theta.git.received import open_file
from git_theta.git.repository import Repository
from git_theta.git.tracked import Entry, entries
from git_theta.git.worktree import work_tree
from git_theta.metadata import looks_like_metadata, parse
from git_theta.plugins import installed
from git_theta.smudge import content, rebuild

EXAMPLES = """Examples:

\b
  GIT_THETA_SKIP_SMUDGE=1 git clone URL     clone without writing any model
  git theta checkout                        then write them all
  git theta checkout model.pt               or only one
  git theta checkout --source v1 model.pt   an earlier version, into the work tree only
"""


@click.command(epilog=EXAMPLES)
@click.argument("paths", metavar="[PATH...]", nargs=-1, type=click.Path())
@click.option("--source", metavar="REV", help="Take versions from a commit, not from the index.")
@click.option("--force", is_flag=True, help="Overwrite files with changes that are not in git.")
def checkout(paths: tuple[str, ...], source: str | None, force: bool) -> None:
    """Write tracked files into the work tree.

    git holds a file in memory while it checks it out; this command does not, whatever its size.
    """
    tree = work_tree()
    with Repository() as repository:
        wanted = _wanted(repository, source, paths)
        index = {entry.path: entry for entry in entries(repository, None, paths)}
        states = [_state(tree.top, entry, index.get(entry.path)) for entry in wanted]
        changed = [e.path for e, state in zip(wanted, states, strict=True) if state == "changed"]
        if changed and not force:
            listed = "".join(f"\n  {path}" for path in changed)
            raise LocalChangesError(
                f"These files have changes that are not in git:{listed}",
                remedy="Add them first, or overwrite them with --force",
            )
        stats = {}
        for entry, state in zip(wanted, states, strict=True):
            if state != "same":
                _write(repository, tree.top, entry)
                click.echo(f"{human_size(entry.head.nbytes):>9}  {entry.path}", err=True)
            if entry.path in index and index[entry.path].oid == entry.oid:
                stats[entry.path] = (tree.top / entry.path).stat()
    if sum(stat.st_size for stat in stats.values()) >= SETTLE:
        settle(stats.values())
    if stats:
        mark_unchanged(stats)


def _wanted(repository: Repository, source: str | None, paths: Sequence[str]) -> list[Entry]:
    found = list(entries(repository, source, paths))
    if paths and not found:
        where = source or "the index"
        raise GitError(
            f"Expected files that git-theta stores, found none in {where} at {' '.join(paths)}",
            remedy="git theta ls-files [REV] lists what there is",
        )
    sparse = run.text("config", "--type=bool", "--get", "core.sparseCheckout", ok=(0, 1))
    if source is None and sparse == "true":
        lines = run.run("ls-files", "-t", "-z", "--full-name").split(b"\0")
        skipped = {os.fsdecode(line[2:]) for line in lines if line.startswith(b"S ")}
        found = [entry for entry in found if entry.path not in skipped]
    return found


def _state(top: Path, entry: Entry, indexed: Entry | None) -> str:
    """What lies at a path: ``missing``, ``same``, ``clean`` (as in the index) or ``changed``."""
    file = top / entry.path
    _check_parents(top, file)
    if not os.path.lexists(file):
        return "missing"
    if file.is_symlink() or not file.is_file():
        return "changed"
    with open_file(file) as received:
        head = bytes(received.source.read(0, min(64, received.source.size)))
        found = (received.digest, received.source.size)
    if looks_like_metadata(head) and run.text("hash-object", "--no-filters", str(file)) in (
        entry.oid,
        indexed.oid if indexed else "",
    ):
        return "missing"
    if found == (entry.head.digest, entry.head.nbytes):
        return "same"
    known = (indexed.head.digest, indexed.head.nbytes) if indexed else None
    return "clean" if found == known else "changed"


def _check_parents(top: Path, file: Path) -> None:
    """Refuse to write through a symbolic link, which may lead out of the work tree."""
    for parent in file.relative_to(top).parents:
        if (top / parent).is_symlink():
            raise GitError(
                f"Expected a folder at {parent}, found a symbolic link",
                remedy=f"Remove the link {parent}",
            )


def _write(repository: Repository, top: Path, entry: Entry) -> None:
    metadata = parse(repository.blob(entry.oid), entry.path)
    rebuilt = rebuild(metadata, entry.path, store=repository.store, plugins=installed())
    file = top / entry.path
    listed = run.text("ls-files", "-s", "--", f":(top,literal){entry.path}")
    mode = 0o777 if listed.startswith("100755") else 0o666
    temporary = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fd, temporary = tempfile.mkstemp(prefix=".git-theta-", dir=file.parent)
        with (
            os.fdopen(fd, "wb", buffering=0) as out,
            progress(f"Checking out {entry.path}", metadata.nbytes) as advance,
        ):
            for data in content(rebuilt, advance):
                view = memoryview(data)
                while view:
                    view = view[out.write(view) :]
            os.fchmod(out.fileno(), mode & ~_umask())
        os.replace(temporary, file)
        temporary = None
    except OSError as fault:
        raise StoreError(
            f"Cannot write {entry.path}: {fault}", remedy="Free some space, then try again"
        ) from fault
    finally:
        if temporary:
            os.unlink(temporary)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
