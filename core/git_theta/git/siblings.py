"""The other files of a checkpoint, for formats that need them: from the work tree, or the index."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from git_theta.errors import GitError, MetadataError, MissingPackError, PackError, StoreError
from git_theta.git import run
from git_theta.git.repository import Repository
from git_theta.git.spool import IN_MEMORY, Spool
from git_theta.metadata import HEAD_BYTES, MAX_BYTES, looks_like_metadata, normalize, parse
from git_theta.source import Source

_BLOCK = 2**20
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class Siblings:
    """Opens files by their path from the top of the work tree; close it once all are read.

    Parameters
    ----------
    repository
        Whose work tree and index.
    only_reads
        Tells whether it is for a command that changes nothing: then nothing is fetched, and what
        cannot be had counts as not there.
    """

    def __init__(
        self, repository: Repository, only_reads: Callable[[], bool] = lambda: False
    ) -> None:
        self._repository, self._only_reads = repository, only_reads
        self._spool = Spool(repository.folder / "theta" / "tmp")

    def __enter__(self) -> Siblings:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    def __call__(self, path: str) -> Source | None:
        """The file as it was saved; None where there is none.

        Raises
        ------
        ThetaError
            When it is there and cannot be had: no store has it, its metadata has a conflict.
        """
        if ".git" in path.casefold().split("/"):
            return None
        try:
            return self._in_work_tree(path) or self._in_index(path)
        except (GitError, MetadataError, MissingPackError, PackError, StoreError):
            if self._only_reads():
                return None
            raise

    def _in_work_tree(self, path: str) -> Source | None:
        top = self._repository.top
        fd = _open_below(top, path) if top else None
        if fd is None:
            return None
        return self._saved(self._spool.adopt(fd), path)

    def _in_index(self, path: str) -> Source | None:
        oid = _listed(self._repository.top, path)
        found = self._repository.objects([oid])[0] if oid else None
        if not found or found[1] != "blob":
            return None
        small = found[2] <= IN_MEMORY
        blocks = iter((self._repository.blob(oid),)) if small else _blob(oid)
        return self._saved(self._spool.keep(blocks, found[2]), path, oid)

    def _saved(self, found: Source, path: str, oid: str = "") -> Source:
        """What metadata describes; anything else as it is."""
        head = bytes(found.read(0, min(found.size, HEAD_BYTES)))
        if not looks_like_metadata(head) or found.size > 2 * MAX_BYTES:
            return found
        from git_theta.plugins import installed
        from git_theta.remotes.obtain import rebuild_fetched
        from git_theta.smudge import content, rebuild

        metadata = parse(normalize(bytes(found.read(0, found.size)), path), path)
        if self._only_reads():
            store = self._repository.store
            rebuilt = rebuild(metadata, path, store=store, plugins=installed())
        else:
            rebuilt = rebuild_fetched(self._repository, metadata, path, oid)
        return self._spool.keep(content(rebuilt), metadata.nbytes)


def _open_below(top: Path, path: str) -> int | None:
    """A regular file of the work tree, opened without following any link; None: there is none."""
    *folders, name = path.split("/")
    try:
        at = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for folder in folders:
                inner = os.open(folder, _FLAGS | os.O_DIRECTORY, dir_fd=at)
                os.close(at)
                at = inner
            fd = os.open(name, _FLAGS | os.O_NONBLOCK, dir_fd=at)
        finally:
            os.close(at)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None


def _listed(top: Path | None, path: str) -> str:
    """The blob that the index has for a file, in a conflict that of our side; "" for none."""
    listed = run.run("ls-files", "-s", "-z", "--", path, cwd=top, env=run.LITERAL)
    stages = {}
    for line in listed.split(b"\0")[:-1]:
        mode, oid, stage = line.partition(b"\t")[0].decode().split(" ")
        if mode.startswith("100"):
            stages[stage] = oid
    return stages.get("0") or stages.get("2", "")


def _blob(oid: str) -> Iterator[bytes]:
    command = ("git", "cat-file", "blob", oid)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        while data := process.stdout.read(_BLOCK):
            yield data
    if process.returncode:
        raise GitError(f"git cat-file failed on the blob {oid}", remedy="git fsck tells why")
