"""Packs beside the LFS objects of a repository on this machine, where git-lfs looks for them.

A path or ``file://`` remote has no server: git-lfs links or copies files into ``lfs/objects`` of
the other repository, and so do we. Going through git-lfs would start a dozen processes to do that,
and it checks nothing there.
"""

from __future__ import annotations

import re
from pathlib import Path

from git_theta.errors import GitError, StoreError
from git_theta.git.elsewhere import open_repository
from git_theta.storage.folder import PackFolder, check_pack_name


class ObjectsFolder(PackFolder):
    """Packs as files ``aa/bb/NAME``, as git-lfs has objects."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "objects")
        self.temporary = folder / "tmp"

    def path(self, pack: str) -> Path:
        """Where a pack lies, or would lie."""
        check_pack_name(pack)
        return self.folder / pack[:2] / pack[2:4] / pack

    def packs(self) -> set[str]:
        """Names of all objects in the folder: packs, and what LFS keeps beside them."""
        found = self.folder.glob("??/??/*")
        return {file.name for file in found if re.fullmatch(r"[0-9a-f]{64}", file.name)}

    def adopt(self, file: Path, pack: str, *, flush: bool = True) -> Path:
        """Give a finished file its name."""
        try:
            self.path(pack).parent.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise StoreError(f"Cannot write to the store {self.folder}: {fault}") from fault
        return super().adopt(file, pack, flush=flush)


def open_folder(repository: Path) -> ObjectsFolder:
    """Open the LFS objects of a repository.

    Raises
    ------
    StoreError
        When there is no repository.
    """
    try:
        there = open_repository(repository)
        storage = there.configured("lfs.storage")
    except GitError as fault:
        raise StoreError(
            f"Expected a git repository at {repository}, found none: {fault}",
            remedy="Check the remote's URL: git remote -v",
        ) from fault
    return ObjectsFolder(there.folder / (storage or "lfs"))
