"""Files out of git-theta: to Git LFS, or into git itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import blake3

from git_theta.errors import MetadataError, MissingPackError, PackError, ThetaError
from git_theta.git.repository import Repository
from git_theta.metadata import MAX_BYTES, Metadata, looks_like_metadata, parse, parse_head
from git_theta.migrate.conversion import Conversion
from git_theta.migrate.drivers import TO_GIT, TO_LFS
from git_theta.migrate.lfs import LfsFolder
from git_theta.migrate.objects import Objects
from git_theta.migrate.writer import NewObjects
from git_theta.plugins import Plugins
from git_theta.smudge import content, rebuild
from git_theta.source import BLOCK
from git_theta.storage.lfs.pointer import MAX_POINTER, parse_pointer, print_pointer


class Export(Conversion):
    """Rebuilds each file's version, and gives it to Git LFS (``lfs``) or to git itself (None).

    Parameters
    ----------
    repository, plugins
        Whose store; what decodes it.
    objects, new
        git's objects, and those to come.
    lfs
        Where files go; None: into git.
    warn
        Told what remotes say of packs that they do not give.
    """

    def __init__(
        self,
        repository: Repository,
        plugins: Plugins,
        objects: Objects,
        new: NewObjects,
        lfs: LfsFolder | None,
        warn: Callable[[str], None],
    ) -> None:
        self.way = TO_LFS if lfs else TO_GIT
        self._repository, self._plugins = repository, plugins
        self._objects, self._new, self._lfs = objects, new, lfs
        self._warn = warn
        self._ours: set[str] = set()
        self._digests: dict[str, bytes] = {}

    def weigh(self, oid: str) -> int | None:
        """Bytes of the file that a blob stands for; None when it is the target's already."""
        found = self._objects.find(oid)
        size = found.size if found else 0
        text = self._objects.read(oid, "blob") if 0 < size <= MAX_BYTES else b""
        if looks_like_metadata(text):
            self._ours.add(oid)
            head = parse_head(text)
            return head.nbytes if head else 0
        if not size or not self._lfs:
            return None  # from before it was tracked: git has the file itself
        return None if size <= MAX_POINTER and parse_pointer(text) else size

    def is_text(self, oid: str) -> bool:
        """Whether a blob is metadata."""
        return oid in self._ours

    def prepare(self, paths: Mapping[str, str]) -> dict[str, str]:
        """Fetch what the local store lacks, all of it in one go; what cannot be had."""
        from git_theta.remotes.obtain import lacking, obtain

        ours = {oid: path for oid, path in paths.items() if oid in self._ours}
        lost = self._lost(ours)
        if lost:
            try:
                lacked = lacking(self._repository, [(ours[oid], oid) for oid in lost])
                obtain(self._repository, lacked)
            except (MissingPackError, MetadataError) as fault:
                self._warn(str(fault))
            lost = self._lost({oid: ours[oid] for oid in lost})
        return lost

    def _lost(self, paths: Mapping[str, str]) -> dict[str, str]:
        lost = {}
        for oid, path in paths.items():
            try:
                metadata = self._metadata(oid, path)
                rebuild(metadata, path, store=self._repository.store, plugins=self._plugins)
            except ThetaError as fault:
                lost[oid] = str(fault).split("\n")[0]
        return lost

    def convert(
        self, oid: str, path: str, commit: str, near: Sequence[str], advance: Callable[[int], None]
    ) -> str:
        """Give the file that a blob stands for to the target; what git has of it then."""
        if oid in self._ours:
            metadata = self._metadata(oid, path)
            rebuilt = rebuild(metadata, path, store=self._repository.store, plugins=self._plugins)
            blocks: Iterable[bytes | memoryview] = content(rebuilt, lambda n: advance(2 * n))
            self._digests[oid] = metadata.digest
            if self._lfs is None:
                return self._new.add_blocks("blob", metadata.nbytes, blocks)
        else:
            blocks = self._digesting(oid, advance)
        assert self._lfs
        return self._new.add("blob", print_pointer(self._lfs.put(blocks)))

    def verify(self, oid: str, new: str, path: str, advance: Callable[[int], None]) -> None:
        """Read the file from the target, and compare it with what the old blob stood for."""
        digest, found = blake3.blake3(), hashlib.sha256()
        for block in self._kept(new):
            digest.update(block)
            if self._lfs:
                found.update(block)
            advance(len(block))
        expected = parse_pointer(self._new.read(new)) if self._lfs else None
        if digest.digest() != self._digests[oid] or (
            expected and found.hexdigest() != expected.oid
        ):
            where = f"the LFS file {expected.oid}" if expected else f"the blob {new}"
            raise PackError(
                f"{path}: {where} was written, and other bytes are read from it",
                remedy="Nothing in git has changed; check the disk, then run the command again",
            )

    def _kept(self, new: str) -> Iterator[bytes]:
        if self._lfs is None:
            yield from self._objects.blocks(new)
            return
        pointer = parse_pointer(self._new.read(new))
        assert pointer
        with self._lfs.path(pointer.oid).open("rb") as file:
            while block := file.read(BLOCK):
                yield block

    def _digesting(self, oid: str, advance: Callable[[int], None]) -> Iterator[bytes]:
        digest = blake3.blake3()
        for block in self._objects.blocks(oid):
            digest.update(block)
            yield block
            advance(2 * len(block))
        self._digests[oid] = digest.digest()

    def _metadata(self, oid: str, path: str) -> Metadata:
        return parse(self._objects.read(oid, "blob").replace(b"\r\n", b"\n"), path)
