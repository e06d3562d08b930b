"""What ``git theta add --update-path`` does: apply an update to a file, and store just the update.

Everything is checked before anything is written. Then, each step leaving a valid state: the old
values are stored where they were not, the new file is written aside, the updates and whatever else
is new are stored, the index is told, the file takes its place.
"""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from git_theta.checkpoint import Layout
from git_theta.errors import GitError, LocalChangesError, StoreError, UpdateFileError
from git_theta.git import run
from git_theta.git.answers import clean_received
from git_theta.git.index_file import stamp
from git_theta.git.known import find_known
from git_theta.git.received import Received, open_file
from git_theta.git.repository import Repository
from git_theta.git.scratch import scratch_folder
from git_theta.git.siblings import Siblings
from git_theta.metadata import HEAD_BYTES, looks_like_metadata
from git_theta.plugins import Plugins, installed
from git_theta.progress import progress
from git_theta.source import Source
from git_theta.told.adapter import find_adapter, read_adapter
from git_theta.told.targets import Target, find_targets
from git_theta.told.update_file import Told, read_update_file, scan
from git_theta.told.values import rewritten, store_told
from git_theta.updates.interface import UpdateType


class Applied(NamedTuple):
    """What became of an update."""

    text: bytes
    """The new metadata."""
    stat: os.stat_result
    """Of the new file."""
    targets: Sequence[Target]
    """The groups that changed."""
    same: Sequence[str]
    """Groups that the update leaves as they were."""


def apply_update(
    repository: Repository,
    top: Path,
    path: str,
    update_path: Path,
    update_type: UpdateType,
    put_into_index: Callable[[bytes, os.stat_result], None],
) -> Applied:
    """Update a checkpoint of the work tree, and store the update.

    Parameters
    ----------
    repository
        Where it is stored.
    top, path
        The top of the work tree, the checkpoint from there.
    update_path
        An update file or a folder with an adapter.
    update_type
        The kind of update that it tells.
    put_into_index
        Given metadata and a file's stat, makes them the index entry. It is called last but one:
        where the index cannot be written, the checkpoint stays.

    Raises
    ------
    LocalChangesError
        When the checkpoint has values that are not in git, or was written to meanwhile.
    UpdateFileError
        When the update does not fit; nothing was written.
    """
    file, plugins = top / path, installed()
    seen = file.lstat()
    with _opened(file) as old, Siblings(repository) as siblings:
        _check_in_git(repository, path, old)
        detected = scan(old.source, path, plugins, siblings)
        with _reading(update_path, update_type, detected.layout, plugins) as told:
            targets, same = find_targets(old.source, path, detected.layout, told, plugins)
            before = clean_received(repository, path, old)
            if not targets:
                put_into_index(before, seen)
                return Applied(before, seen, targets, same)
            new = rewritten(old.source, path, detected.layout, targets, plugins, siblings)
            with (
                _written(repository, file, path, new.file, seen) as temporary,
                _written_beside(repository, top, new.beside) as others,
            ):
                with _opened(temporary) as made:
                    store = repository.store
                    store_told(store, plugins, made.source, path, targets, before, siblings)
                    text = clean_received(repository, path, made)
                if stamp(file.lstat()) != stamp(seen):
                    raise _changed(path)
                put_into_index(text, temporary.stat())
                _put_beside(repository, top, others)
                _replace(temporary, file)
    return Applied(text, file.lstat(), targets, same)


@contextmanager
def _reading(
    path: Path, update_type: UpdateType, layout: Layout, plugins: Plugins
) -> Iterator[list[Told]]:
    """What an update file or an adapter tells; it can be read until the end of the context."""
    adapter = find_adapter(path)
    name = str(adapter[1] if adapter else path)
    with _opened(Path(name)) as received:
        if adapter is None:
            yield read_update_file(received.source, name, plugins, update_type)
            return
        told = read_adapter(adapter[0], received.source, name, layout, plugins)
        kinds = {one.update_type for one in told} - {"dense"}
        if not kinds <= {update_type.name}:
            raise UpdateFileError(
                f"{adapter[0]}: expected an update of type {update_type.name}, found an adapter of "
                f"type {' and '.join(sorted(kinds))}",
                remedy=f"Say --update-type {sorted(kinds)[0]}",
            )
        yield told


@contextmanager
def _opened(path: Path) -> Iterator[Received]:
    try:
        received = open_file(path)
    except OSError as fault:
        raise GitError(f"Cannot read {path}: {fault}") from fault
    with received:
        yield received


def _check_in_git(repository: Repository, path: str, found: Received) -> None:
    """Make sure that git has the file as it is, or nothing at its path: a first commit."""
    source, quoted = found.source, shlex.quote(path)
    if looks_like_metadata(source.read(0, min(source.size, HEAD_BYTES))):
        raise LocalChangesError(
            f"Expected a checkpoint at {path}, found its metadata",
            remedy=f"Write it first: git theta checkout {quoted}",
        )
    names = [f"{where}:{path}" for where in (":0", ":1", ":2", ":3", "HEAD")]
    if not any(repository.objects(names)):
        return
    if not find_known(repository.versions(path), found.digest, source.size):
        raise LocalChangesError(
            f"{path} has changes that are not in git, and an update is told relative to what is",
            remedy=f"Add them first: git add {quoted}, or drop them: git checkout -- {quoted}",
        )


@contextmanager
def _written_beside(
    repository: Repository, top: Path, files: Mapping[str, Source]
) -> Iterator[dict[str, Path]]:
    """Files aside, for those that change along with the checkpoint: where each lies."""
    with ExitStack() as stack:
        written = {}
        for name, new in files.items():
            if not (top / name).is_file():
                raise GitError(
                    f"Expected {name} in the work tree, which changes along with the checkpoint",
                    remedy=f"Write it first: git checkout -- {shlex.quote(name)}",
                )
            if run.run("diff", "--name-only", "--", name, cwd=top, env=run.LITERAL):
                raise LocalChangesError(
                    f"{name} changes along with the checkpoint, and has changes that are not in "
                    "git",
                    remedy=f"Add them first: git add {shlex.quote(name)}",
                )
            seen = (top / name).lstat()
            written[name] = stack.enter_context(_written(repository, top / name, name, new, seen))
        yield written


def _put_beside(repository: Repository, top: Path, files: Mapping[str, Path]) -> None:
    """Put files in their places, and into the index those that are there."""
    for name, written in files.items():
        _replace(written, top / name)
    known = [name for name in files if repository.objects([f":0:{name}"])[0]]
    if known:
        run.run("add", "--", *known, cwd=top, env=run.LITERAL)


@contextmanager
def _written(
    repository: Repository, file: Path, path: str, new: Source, seen: os.stat_result
) -> Iterator[Path]:
    """A file aside that has the new bytes and the old one's mode; removed unless it was renamed."""
    folder = scratch_folder(repository, file.parent) or file.parent
    temporary = None
    try:
        fd, temporary = tempfile.mkstemp(prefix=".git-theta-", dir=folder)
        with (
            os.fdopen(fd, "wb", buffering=0) as out,
            progress(f"Updating {path}", new.size) as advance,
        ):
            for block in new.blocks():
                view = memoryview(block)
                while view:
                    view = view[out.write(view) :]
                advance(len(block))
            os.fchmod(out.fileno(), stat.S_IMODE(seen.st_mode))
            os.fsync(out.fileno())
        yield Path(temporary)
    except OSError as fault:
        raise StoreError(
            f"Cannot write {path}: {fault}", remedy="Free some space, then try again"
        ) from fault
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def _replace(temporary: Path, file: Path) -> None:
    try:
        os.replace(temporary, file)
    except OSError as fault:
        if fault.errno != errno.EXDEV:
            raise
        beside = file.with_name(f".{temporary.name}")  # one disk mounted twice
        try:
            shutil.copy2(temporary, beside)
            os.replace(beside, file)
        finally:
            beside.unlink(missing_ok=True)


def _changed(path: str) -> LocalChangesError:
    return LocalChangesError(
        f"{path} was written to since git theta add looked at it",
        remedy="Try again once nothing writes to the file",
    )
