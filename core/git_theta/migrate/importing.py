"""Files into git-theta: from Git LFS, or from git itself."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import blake3

from git_theta.clean import Cleaning, clean
from git_theta.errors import PackError, StoreError
from git_theta.git.history import MAX_OLDER, MAX_TEXT
from git_theta.git.repository import Repository
from git_theta.git.spool import Spool
from git_theta.metadata import HEAD_BYTES, MAX_BYTES, looks_like_metadata, normalize, parse
from git_theta.migrate.conversion import Conversion
from git_theta.migrate.drivers import IMPORT
from git_theta.migrate.lfs import LfsFolder
from git_theta.migrate.objects import Objects
from git_theta.migrate.siblings import Siblings
from git_theta.migrate.writer import NewObjects
from git_theta.plugins import Plugins
from git_theta.remotes.fetch import fetch_order
from git_theta.smudge import content, rebuild
from git_theta.source import BytesSource, FileSource, Source
from git_theta.storage.lfs.pointer import MAX_POINTER, Pointer, parse_pointer


class _File(NamedTuple):
    source: Source
    digest: bytes
    """BLAKE3."""


class Import(Conversion):
    """Stores each file's version as ``git add`` would have at its time.

    Parameters
    ----------
    repository, plugins
        Whose store; what reads the files.
    objects, new
        git's objects, and those to come.
    scratch
        A folder for one file at a time.
    warn
        Told what the user should know about a file.
    """

    way = IMPORT

    def __init__(
        self,
        repository: Repository,
        plugins: Plugins,
        objects: Objects,
        new: NewObjects,
        scratch: Path,
        warn: Callable[[str], None],
    ) -> None:
        self._repository, self._plugins = repository, plugins
        self._objects, self._new = objects, new
        self._scratch, self._warn = scratch, warn
        self._pointers: dict[str, Pointer] = {}
        self._digests: dict[str, tuple[bytes, int]] = {}
        self._recent: dict[str, deque[str]] = {}

    @cached_property
    def _lfs(self) -> LfsFolder:
        return LfsFolder()

    def weigh(self, oid: str) -> int | None:
        """Bytes of the file that a blob stands for; None for an empty one, and for metadata."""
        found = self._objects.find(oid)
        size = found.size if found else 0
        if not size:
            return None
        if size > HEAD_BYTES:  # metadata that is longer is seen when it is read
            return size
        data = self._objects.read(oid, "blob")
        pointer = parse_pointer(data)
        if pointer:
            self._pointers[oid] = pointer
            return pointer.size
        return None if looks_like_metadata(data) else size

    def is_text(self, oid: str) -> bool:
        """Whether a blob is a pointer."""
        return oid in self._pointers

    def prepare(self, paths: Mapping[str, str]) -> dict[str, str]:
        """Have git-lfs fetch what is not here; what cannot be had."""
        wanted = {oid: self._pointers[oid] for oid in paths if oid in self._pointers}
        missing = self._missing(wanted)
        remotes = fetch_order() if missing else []
        for remote in remotes:
            if missing:
                said = self._lfs.fetch(missing, remote)
                if said:
                    self._warn(f"git-lfs and {remote}: {said}")
                missing = self._missing(missing)
        asked = ", ".join(remotes)
        why = f"git-lfs asked {asked}" if asked else "there is no remote to fetch it from"
        return {
            oid: f"the LFS file {pointer.oid} ({pointer.size} bytes) is not here; {why}"
            for oid, pointer in missing.items()
        }

    def _missing(self, pointers: Mapping[str, Pointer]) -> dict[str, Pointer]:
        return {oid: one for oid, one in pointers.items() if not self._lfs.has(one)}

    def convert(
        self, oid: str, path: str, commit: str, near: Sequence[str], advance: Callable[[int], None]
    ) -> str:
        """Store the file that a blob stands for; its metadata."""
        if oid in self._pointers and not self._pointers[oid].size:
            return self._new.add("blob", b"")
        suffix = PurePosixPath(path).suffix
        recent = self._recent.setdefault(suffix, deque(maxlen=MAX_OLDER))
        with self._open(oid, path) as (source, digest), closing(Spool(self._scratch)) as spool:
            if looks_like_metadata(source.read(0, min(source.size, HEAD_BYTES))):
                return oid
            cleaned = clean(
                Cleaning(
                    source,
                    path,
                    digest,
                    store=self._repository.store,
                    plugins=self._plugins,
                    versions=[self._new.read(name) for name in near],
                    older=lambda: self._texts(recent),
                    siblings=Siblings(self._objects, commit, partial(self._saved, spool)),
                    advance=advance,
                )
            )
        if cleaned.warning:
            self._warn(f"{cleaned.warning}; {path} is stored byte for byte, as unknown")
        self._digests[oid] = digest, source.size
        new = self._new.add("blob", cleaned.text)
        recent.append(new)
        return new

    def verify(self, oid: str, new: str, path: str, advance: Callable[[int], None]) -> None:
        """Rebuild the file from the store, and compare it with what the old blob stood for."""
        if oid not in self._digests:  # metadata as it was, or an empty file
            return
        text = self._new.read(new)
        metadata = parse(text, path)
        if (metadata.digest, metadata.nbytes) != self._digests[oid]:
            raise PackError(
                f"{path}: expected metadata of the file that the blob {oid} stands for, found "
                f"that of a file of {metadata.nbytes} bytes",
                remedy="Nothing has changed; this is a bug in git-theta",
            )
        rebuilt = rebuild(metadata, path, store=self._repository.store, plugins=self._plugins)
        for data in content(rebuilt):  # at its end the digest is compared
            advance(len(data))
        self._repository.proven.add(text)

    def _saved(self, spool: Spool, oid: str, path: str) -> Source | None:
        """The file that any blob of a commit stands for; None for an LFS file that is not here."""
        found = self._objects.find(oid)
        size = found.size if found else 0
        pointer = parse_pointer(self._objects.read(oid, "blob")) if size <= MAX_POINTER else None
        if pointer and pointer.size:
            return spool.adopt(self._open_lfs(pointer)) if self._lfs.has(pointer) else None
        source = spool.keep(self._objects.blocks(oid), size)
        head = source.read(0, min(size, HEAD_BYTES))
        if pointer or not looks_like_metadata(head) or size > 2 * MAX_BYTES:
            return BytesSource(b"") if pointer else source
        metadata = parse(normalize(bytes(source.read(0, size)), path), path)
        rebuilt = rebuild(metadata, path, store=self._repository.store, plugins=self._plugins)
        return spool.keep(content(rebuilt), metadata.nbytes)

    def _texts(self, names: Sequence[str]) -> Iterator[bytes]:
        nbytes = 0
        for name in reversed(names):
            text = self._new.read(name)
            nbytes += len(text)
            if nbytes > MAX_TEXT:
                return
            yield text

    @contextmanager
    def _open(self, oid: str, path: str) -> Iterator[_File]:
        pointer = self._pointers.get(oid)
        fd = self._open_lfs(pointer) if pointer else self._spool(oid)
        try:
            yield self._read(fd, oid, path, pointer)
        finally:
            os.close(fd)

    def _open_lfs(self, pointer: Pointer) -> int:
        path = self._lfs.path(pointer.oid)
        try:
            return os.open(path, os.O_RDONLY)
        except OSError as fault:
            raise StoreError(
                f"Cannot read the LFS file {path}: {fault}", remedy="git lfs fetch --all gets it"
            ) from fault

    def _spool(self, oid: str) -> int:
        """A blob of git's in a file that has no name any more."""
        try:
            fd, name = tempfile.mkstemp(dir=self._scratch)
            os.unlink(name)
            with os.fdopen(os.dup(fd), "wb") as out:
                for block in self._objects.blocks(oid):
                    out.write(block)
        except OSError as fault:
            raise StoreError(
                f"Cannot keep the blob {oid} aside in {self._scratch}: {fault}",
                remedy="Free some space, then run the command again",
            ) from fault
        return fd

    def _read(self, fd: int, oid: str, path: str, pointer: Pointer | None) -> _File:
        source = FileSource(fd)
        digest = blake3.blake3(max_threads=blake3.blake3.AUTO)
        if pointer:
            named, name = hashlib.sha256(), pointer.oid
        else:
            named, name = hashlib.new(self._objects.algorithm, usedforsecurity=False), oid
            named.update(f"blob {source.size}\0".encode())
        for block in source.blocks():
            digest.update(block)
            named.update(block)
        if named.hexdigest() != name:
            raise PackError(
                f"{path}: expected the file {name}, found other bytes: {named.hexdigest()}",
                remedy=f"Remove {self._lfs.path(name)}; git lfs fetch --all brings it back"
                if pointer
                else "git fsck tells what is damaged; fetch it from another clone",
            )
        return _File(source, digest.digest())
