"""A folder of packs, each a file under its name: what the local store keeps packs in, and the
simplest store there is (a shared disk).
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from git_theta.errors import MissingPackError, PackError, StoreError
from git_theta.storage.interface import Advance, Store, StoreType, unwatched

_PACK = re.compile(r"[0-9a-f]{64}")

_FICLONE = 0x40049409  # ioctl_ficlone(2)
FRESH = 3600.0
"""Seconds for which a pack counts as used just now."""

_OURS = "git theta fsck --remote fetches it anew, where a remote has it"
_THEIRS = "Remove it, then send it again from a clone that has it: git theta push --all"
"""What to do about a damaged pack that was to be put somewhere, or to be got from there."""


def check_pack_name(pack: str) -> str:
    """Return a pack's name if it is one, before it becomes part of a path.

    Raises
    ------
    StoreError
        When it is not 64 lower-case hex digits.
    """
    if not _PACK.fullmatch(pack):
        raise StoreError(f"Expected a pack's name of 64 hex digits, found {pack!r}")
    return pack


class PackFolder(Store):
    """Packs as files in one folder; written under another name first, then renamed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.temporary = folder / "tmp"

    def path(self, pack: str) -> Path:
        """Where a pack lies, or would lie."""
        return self.folder / check_pack_name(pack)

    def packs(self) -> set[str]:
        """Names of all packs in the folder."""
        try:
            return {name for name in os.listdir(self.folder) if _PACK.fullmatch(name)}
        except FileNotFoundError:
            return set()

    def missing(self, packs: Iterable[str]) -> set[str]:
        """Those of ``packs`` that the folder does not have."""
        return {pack for pack in packs if not self.path(pack).is_file()}

    def put(self, packs: Mapping[str, Path], advance: Advance = unwatched) -> None:
        """Copy packs into the folder, one after another."""
        for pack in self.missing(packs):
            temporary = self.new_file()
            try:
                nbytes = _copy(packs[pack], temporary, pack, _OURS)
                self.adopt(temporary, pack)
            finally:
                temporary.unlink(missing_ok=True)
            advance(nbytes)

    def get(
        self, packs: Mapping[str, Path], sizes: Mapping[str, int], advance: Advance = unwatched
    ) -> None:
        """Copy packs out of the folder, one after another."""
        sources = {pack: self.path(pack) for pack in packs}
        for pack, source in sources.items():
            if not source.is_file():
                raise MissingPackError(f"The folder {self.folder} has no pack {pack}")
            try:
                nbytes = _copy(source, packs[pack], pack, _THEIRS)
            except BaseException:
                packs[pack].unlink(missing_ok=True)
                raise
            advance(nbytes)

    def delete(self, pack: str) -> None:
        """Remove a pack."""
        self.path(pack).unlink(missing_ok=True)

    def freshen(self, pack: str) -> None:
        """Say that a pack was of use just now, so that nobody takes what it holds for garbage."""
        path = self.path(pack)
        with contextlib.suppress(OSError):  # a read-only store, or a pack that is gone
            if time.time() - path.stat().st_mtime > FRESH:
                os.utime(path)

    def make_temporary(self) -> None:
        """Make the folder for what is not done yet; who may write beside it may write there."""
        with contextlib.suppress(FileExistsError):
            self.temporary.mkdir(parents=True)
            with contextlib.suppress(PermissionError):
                self.temporary.chmod(stat.S_IMODE(self.temporary.parent.stat().st_mode))

    def new_file(self) -> Path:
        """A new empty file on the folder's disk, for :meth:`adopt`.

        Raises
        ------
        StoreError
            When the folder cannot be written to.
        """
        path = self.temporary / f"pack-{os.urandom(8).hex()}"  # tempfile takes 5 ms to import
        try:
            self.make_temporary()
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except OSError as fault:
            raise StoreError(f"Cannot write to the store {self.folder}: {fault}") from fault
        return path

    def adopt(self, file: Path, pack: str, *, flush: bool = True) -> Path:
        """Give a finished file from :meth:`new_file` its name.

        A pack that lies there already is kept, unless it is damaged: then this one mends it.
        ``flush``: it must survive a power cut from now on.
        """
        target = self.path(pack)
        if target.is_file() and sha256(target) == pack:
            file.unlink(missing_ok=True)
            return target
        if flush:
            _flush(file)
        file.chmod(0o444)
        file.replace(target)
        if flush:
            _flush(self.folder)
        return target


class FolderStoreType(StoreType):
    """Opens ``file:///path/to/folder``."""

    scheme = "file"

    def open(self, url: str) -> PackFolder:
        """Open the folder, which must exist."""
        parts = urlsplit(url)
        folder = Path(unquote(parts.path))
        if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
            raise StoreError(f"Expected file:///path/to/folder, found {url}")
        if not folder.is_dir():
            raise StoreError(f"There is no folder {folder}", remedy=f"mkdir -p {folder}")
        return PackFolder(folder)


def _clone(source: Path, target: Path) -> bool:
    """Copy a file without copying its bytes, where the file system can; tells whether it could.

    Each has its own from the first write on: unlike a hard link, damage to one leaves the other.
    """
    try:
        import fcntl

        with source.open("rb") as old, target.open("wb") as new:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
    except (ImportError, OSError):
        return False
    return True


def _copy(source: Path, target: Path, pack: str, remedy: str) -> int:
    """Copy a pack, check that its name is the SHA-256 of what was copied; its bytes."""
    import shutil

    try:
        if not _clone(source, target):
            shutil.copyfile(source, target)
        found, nbytes = sha256(target), target.stat().st_size
    except OSError as fault:
        raise StoreError(
            f"Cannot copy pack {pack} to {target.parent}: {fault.strerror or fault}",
            remedy="Free some space (or mend the disk), then try again",
        ) from fault
    if found != pack:
        raise PackError(
            f"Pack {pack} at {source} is corrupt: its SHA-256 is {found}",
            remedy=remedy,
        )
    return nbytes


def sha256(file: Path) -> str:
    """The SHA-256 of a file's bytes, which is the name of a pack."""
    import hashlib  # OpenSSL is large, and whoever only reads packs does without

    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Have the disk keep what was written to a file, or which names a folder has."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
