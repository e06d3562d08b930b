"""``git theta checkout``: write files without git holding them in memory."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import click

from git_theta.allocator import keep_freed_memory
from git_theta.cli.add import settle
from git_theta.cli.install import install_if_possible
from git_theta.errors import FileChangedError, GitError, LocalChangesError, StoreError
from git_theta.git import run
from git_theta.git.index_file import stamp
from git_theta.git.permissions import users_umask
from git_theta.git.received import open_file
from git_theta.git.repository import Repository
from git_theta.git.scratch import scratch_folder
from git_theta.git.tracked import Entry, entries, has_index, quoted
from git_theta.git.worktree import work_tree
from git_theta.human import counted, human_size
from git_theta.metadata import looks_like_metadata, parse
from git_theta.progress import progress
from git_theta.remotes.obtain import lacking, obtain, rebuild_fetched
from git_theta.smudge import content

EXAMPLES = """Examples:

\b
  GIT_THETA_SKIP_SMUDGE=1 git clone URL     clone without writing any model
  git theta checkout                        then write them all
  git theta checkout model.pt               or only one
  git theta checkout --source v1 model.pt   an earlier version, into the work tree only

\b
Write some parameter groups of a file, and fetch only what they need:
  git theta checkout --param 'encoder.*' model.pt -o encoder.safetensors
"""

TERMINATED = 143
"""Exit code after SIGTERM, as a shell reports it."""


class Found(NamedTuple):
    """What lies at a path of the work tree."""

    state: str
    """``missing``, ``same``, ``clean`` (as in the index) or ``changed``."""
    stat: os.stat_result | None
    """From before it was looked at; None: nothing lies there."""


@click.command(epilog=EXAMPLES)
@click.argument("paths", metavar="[PATH...]", nargs=-1, type=click.Path())
@click.option("--source", metavar="REV", help="Take versions from a commit, not from the index.")
@click.option("--force", is_flag=True, help="Overwrite files with changes that are not in git.")
@click.option(
    "--param",
    "patterns",
    metavar="PATTERN",
    multiple=True,
    help="Only the parameter groups whose names match, of one file; may be repeated.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The safetensors file that --param writes.",
)
def checkout(
    paths: tuple[str, ...],
    source: str | None,
    force: bool,
    patterns: tuple[str, ...],
    output: Path | None,
) -> None:
    """Write tracked files into the work tree, all below the current folder if none is named.

    git holds a file in memory while it checks it out; this command does not, whatever its size.
    With --param nothing of the work tree changes: groups of one file are written to another one.
    """
    if bool(patterns) != bool(output) or (patterns and len(paths) != 1):
        raise click.UsageError("--param PATTERN, one PATH and -o FILE go together")
    if output:
        _write_part(source, paths, patterns, output, force=force)
        return
    keep_freed_memory()
    tree = work_tree()
    with _terminable(), Repository() as repository:
        wanted = _wanted(repository, source, paths)
        if wanted:
            install_if_possible()
        known = wanted if source is None else entries(repository, None, paths)
        index = {entry.path: entry for entry in known}
        for entry in wanted:
            _check_path(tree.top, entry.path)
        found = [_look(repository, tree.top, entry, index.get(entry.path)) for entry in wanted]
        pairs = list(zip(wanted, found, strict=True))
        changed = [entry.path for entry, there in pairs if there.state == "changed"]
        if changed and not force:
            listed = "".join(f"\n  {quoted(path)}" for path in changed)
            raise LocalChangesError(
                f"These files have changes that are not in git:{listed}",
                remedy="Add them first, or overwrite them with --force",
            )
        wanted = [entry for entry, there in pairs if there.state != "same"]
        obtain(repository, lacking(repository, [(entry.path, entry.oid) for entry in wanted]))
        stats = {}
        for entry, there in pairs:
            stat = there.stat
            if there.state != "same":
                stat = _write(repository, tree.top, entry, None if force else there)
                click.echo(f"{human_size(entry.head.nbytes):>9}  {quoted(entry.path)}", err=True)
            if stat and entry.path in index and index[entry.path].oid == entry.oid:
                stats[entry.path] = stat
    settle(tree.top, stats)


def _write_part(
    source: str | None,
    paths: Sequence[str],
    patterns: Sequence[str],
    output: Path,
    *,
    force: bool,
) -> None:
    from git_theta.cli.part import write_part

    with _terminable(), Repository() as repository:
        found = list(entries(repository, source, paths))
        if len(found) != 1:
            where = source or "the index"
            raise GitError(
                f"Expected one file that git-theta stores, found {len(found)} in {where} at "
                f"{paths[0]}",
                remedy="git theta ls-files [REV] lists what there is",
            )
        count, nbytes = write_part(repository, found[0], patterns, output, force=force)
    told = f"{quoted(str(output))} ({counted(count, 'parameter group')})"
    click.echo(f"{human_size(nbytes):>9}  {told}", err=True)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end us as an exception does, so that nothing half-written stays behind."""

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(TERMINATED)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _wanted(repository: Repository, source: str | None, paths: Sequence[str]) -> list[Entry]:
    if source is None and not has_index() and repository.objects(["HEAD"])[0]:
        raise GitError(
            "Expected an index, found none: nothing was checked out here yet",
            remedy="git reset --hard makes it, and writes all files of the commit",
        )
    found = list(entries(repository, source, paths))
    if paths and not found:
        where = source or "the index"
        raise GitError(
            f"Expected files that git-theta stores, found none in {where} at {' '.join(paths)}",
            remedy="git theta ls-files [REV] lists what there is",
        )
    sparse = run.text("config", "--type=bool", "--get", "core.sparseCheckout", ok=(0, 1))
    if source is None and sparse == "true":
        top = run.text("rev-parse", "--show-toplevel")
        lines = run.run("ls-files", "-t", "-z", cwd=top).split(b"\0")
        skipped = {os.fsdecode(line[2:]) for line in lines if line.startswith(b"S ")}
        found = [entry for entry in found if entry.path not in skipped]
    return found


def _look(repository: Repository, top: Path, entry: Entry, indexed: Entry | None) -> Found:
    file = top / entry.path
    try:
        seen = file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return Found("missing", None)
    if file.is_symlink() or not file.is_file():
        return Found("changed", seen)
    with open_file(file) as received:
        if indexed and received.digest != entry.head.digest:
            text = repository.blob(indexed.oid).replace(b"\r\n", b"\n")
            repository.replaced.keep(entry.path, text, received)
        head = bytes(received.source.read(0, min(64, received.source.size)))
        found = (received.digest, received.source.size)
    oids = (entry.oid, indexed.oid if indexed else "")
    plain = looks_like_metadata(head) and run.text("hash-object", "--no-filters", str(file)) in oids
    if stamp(file.lstat()) != stamp(seen):  # somebody writes to it right now
        return Found("changed", seen)
    if plain:
        return Found("missing", seen)
    if found == (entry.head.digest, entry.head.nbytes):
        return Found("same", seen)
    known = (indexed.head.digest, indexed.head.nbytes) if indexed else None
    return Found("clean" if found == known else "changed", seen)


def _check_path(top: Path, path: str) -> None:
    """Refuse paths that lead out of the work tree, into git's own folder, or through a link."""
    for part in path.split("/"):
        # Some file systems ignore case, and what stands at a name's end; git~1 is .git's short name
        bare = part.casefold().rstrip(". ")
        if part in ("", ".", "..") or bare in (".git", "git~1"):
            raise GitError(
                f"Expected a path in the work tree, found {quoted(path)}",
                remedy="git would not check out such a tree either; do not trust where it is from",
            )
    for parent in Path(path).parents:
        if (top / parent).is_symlink():
            raise GitError(
                f"Expected a folder at {parent}, found a symbolic link",
                remedy=f"Remove the link {parent}",
            )


def _write(
    repository: Repository, top: Path, entry: Entry, there: Found | None
) -> os.stat_result | None:
    """Write a file in place of what was found there (None: of whatever is there).

    Gives its stat, or None when somebody else wrote to it since.
    """
    file = top / entry.path
    try:
        _check_path(top, entry.path)
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch = scratch_folder(repository, file.parent)
        try:
            return _write_by(scratch, repository, file, entry, there)
        except FileChangedError:  # so it cannot be read in place of packs
            return _write_by(scratch, repository, file, entry, there)
        except OSError as fault:
            if scratch is None or fault.errno != errno.EXDEV:
                raise
            return _write_by(None, repository, file, entry, there)  # one disk mounted twice
    except OSError as fault:
        raise StoreError(
            f"Cannot write {entry.path}: {fault}", remedy="Free some space, then try again"
        ) from fault


def _write_by(
    scratch: Path | None, repository: Repository, file: Path, entry: Entry, there: Found | None
) -> os.stat_result | None:
    """Write by way of a temporary file in ``scratch``, else beside the file."""
    text = repository.blob(entry.oid).replace(b"\r\n", b"\n")
    metadata = parse(text, entry.path)
    temporary = None
    try:
        fd, temporary = tempfile.mkstemp(prefix=".git-theta-", dir=scratch or file.parent)
        with (
            os.fdopen(fd, "wb", buffering=0) as out,
            repository.replaced.buffers(entry.path, repository.store) as at_hand,
        ):
            rebuilt = rebuild_fetched(repository, metadata, entry.path, entry.oid, at_hand)
            with progress(f"Checking out {quoted(entry.path)}", metadata.nbytes) as advance:
                for data in content(rebuilt, advance):
                    view = memoryview(data)
                    while view:
                        view = view[out.write(view) :]
            os.fchmod(out.fileno(), (0o777 if entry.executable else 0o666) & ~users_umask())
            written = os.fstat(out.fileno())
        repository.proven.add(text)
        if there:
            _check_as_found(file, entry.path, there.stat)
        os.replace(temporary, file)
        temporary = None
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        stat = file.lstat()
        if stamp(stat)[:-1] == stamp(written)[:-1]:  # the new name changed only the ctime
            return stat
    return None


def _check_as_found(file: Path, path: str, seen: os.stat_result | None) -> None:
    try:
        now = file.lstat()
    except FileNotFoundError:
        return
    if seen is None or stamp(now) != stamp(seen):
        raise LocalChangesError(
            f"{quoted(path)} was written to since git theta checkout looked at it",
            remedy="Add it first, or overwrite it with --force",
        )
