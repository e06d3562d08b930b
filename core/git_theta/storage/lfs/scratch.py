"""A folder in which git-lfs works for us, apart from the user's LFS objects and git objects.

``lfs.storage`` makes it git-lfs's own storage for one command: packs that are sent are linked into
it and packs that are fetched arrive in it, so that ``git lfs prune`` never sees them and no disk
holds them twice. Objects of git that only name packs are written to it, too, and not to the
repository.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from git_theta.errors import StoreError
from git_theta.git import run
from git_theta.storage.lfs.pointer import Pointer, print_pointer

_ENV = "GIT_ALTERNATE_OBJECT_DIRECTORIES"


class Scratch:
    """The folder; one call's, removed afterwards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def object(self, pack: str) -> Path:
        """Where git-lfs has an object."""
        return self.folder / "objects" / pack[:2] / pack[2:4] / pack

    def place(self, pack: str, file: Path) -> None:
        """Have git-lfs see a pack; its bytes stay where they are."""
        target = self.object(pack)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, target)
        except OSError:  # another disk, or none that can link
            target.symlink_to(file.absolute())

    def tree(self, sizes: Mapping[str, int], objects: Path) -> tuple[str, dict[str, str]]:
        """Write LFS pointers to packs, and a tree of them that is named as git names trees.

        Returns
        -------
        tuple of str and dict of str to str
            Id of the tree, and the variables with which git finds it.
        """
        pointers = self.folder / "pointers"
        pointers.mkdir(exist_ok=True)
        names = sorted(sizes)
        for name in names:
            (pointers / name).write_bytes(print_pointer(Pointer(name, sizes[name])))
        # Behind a link: git-lfs takes objects from the LFS folder beside what the variable names
        # without asking the server. Repositories with an alternates file remain.
        link = self.folder / "alternate" / "objects"
        link.parent.mkdir(exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(objects)
        alternates = [str(link), os.environ.get(_ENV, "")]
        (self.folder / "git").mkdir(exist_ok=True)
        env = {
            "GIT_OBJECT_DIRECTORY": str(self.folder / "git"),
            _ENV: os.pathsep.join(filter(None, alternates)),
            "GIT_NO_LAZY_FETCH": "1",
        }
        paths = "".join(f"{pointers / name}\n" for name in names)
        hashing = ("hash-object", "-w", "--no-filters", "--stdin-paths")
        blobs = run.text(*hashing, input=os.fsencode(paths), env=env).split("\n")
        lines = (f"100644 blob {blob}\t{name}\n" for blob, name in zip(blobs, names, strict=True))
        return run.text("mktree", input="".join(lines).encode(), env=env), env

    def keep_unfinished(self, folder: Path) -> None:
        """Have git-lfs keep halves of downloads in a folder that stays, and go on with them."""
        folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "incomplete").symlink_to(folder)

    def refuse_downloads(self) -> None:
        """Let no download begin, so that git-lfs asks its server and nothing more.

        Downloads begin as files in this folder. Root may write to any folder but those of
        ``/proc``; where there are none, root's git-lfs downloads what it could have asked for.
        """
        if sys.platform == "linux" and Path("/proc/self").is_dir():
            (self.folder / "incomplete").symlink_to("/proc/self")
        else:
            (self.folder / "incomplete").mkdir(mode=0o555)


@contextlib.contextmanager
def scratch(near: Path) -> Iterator[Scratch]:
    """A scratch folder in a folder; on the disk of what it is for, so that links can be made.

    Raises
    ------
    StoreError
        When the folder cannot be written to.
    """
    try:
        near.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="lfs-", dir=near)).absolute()
    except OSError as fault:
        raise StoreError(f"Cannot write to {near}: {fault}") from fault
    try:
        yield Scratch(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
