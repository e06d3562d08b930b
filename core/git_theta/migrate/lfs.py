"""Git LFS's side: the folder in which it keeps the files of pointers.

What is missing there is fetched by git-lfs itself, with its own endpoint and credentials.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from git_theta.errors import GitError, StoreError
from git_theta.git import run
from git_theta.storage.lfs.command import git_lfs
from git_theta.storage.lfs.endpoint import find_endpoint
from git_theta.storage.lfs.pointer import Pointer


class LfsFolder:
    """The files that Git LFS keeps in this repository.

    Raises
    ------
    GitError
        When git-lfs is not installed.
    """

    def __init__(self) -> None:
        try:
            said = run.text("lfs", "env")
        except GitError as fault:
            raise GitError(
                f"Expected git-lfs, which keeps these files: {fault}",
                remedy="Install git-lfs (its package has this name), then run the command again",
            ) from fault
        found = dict(line.partition("=")[::2] for line in said.splitlines())
        self.objects = Path(found["LocalMediaDir"])
        self._temporary = Path(found["TempDir"])

    def path(self, oid: str) -> Path:
        """Where a file lies, or would."""
        return self.objects / oid[:2] / oid[2:4] / oid

    def has(self, pointer: Pointer) -> bool:
        """Whether the file of a pointer is there, as far as its length tells."""
        try:
            return self.path(pointer.oid).stat().st_size == pointer.size
        except OSError:
            return pointer.size == 0

    def put(self, blocks: Iterable[bytes | memoryview]) -> Pointer:
        """Keep a file; gives its pointer.

        Raises
        ------
        StoreError
            When it cannot be written.
        """
        try:
            self._temporary.mkdir(parents=True, exist_ok=True)
            fd, name = tempfile.mkstemp(prefix="git-theta-", dir=self._temporary)
            try:
                with os.fdopen(fd, "wb") as out:
                    hasher, size = hashlib.sha256(), 0
                    for block in blocks:
                        hasher.update(block)
                        out.write(block)
                        size += len(block)
                    out.flush()
                    os.fsync(fd)
                pointer = Pointer(hasher.hexdigest(), size)
                self.path(pointer.oid).parent.mkdir(parents=True, exist_ok=True)
                os.replace(name, self.path(pointer.oid))
                return pointer
            finally:
                Path(name).unlink(missing_ok=True)
        except OSError as fault:
            raise StoreError(
                f"Cannot keep a file for Git LFS in {self.objects}: {fault}",
                remedy="Free some space, then run the command again",
            ) from fault

    def fetch(self, pointers: Mapping[str, Pointer], remote: str) -> str:
        """Have git-lfs fetch files; which of them came has to be looked at.

        Parameters
        ----------
        pointers
            By the name of the blob that each is in git.
        remote
            The git remote whose LFS endpoint is asked.

        Returns
        -------
        str
            What git-lfs says of what it could not fetch; nothing where it fetched all.

        Raises
        ------
        StoreError
            When a tracked file names another host, and the user has not accepted it.
        """
        find_endpoint(remote)
        lines = "".join(f"100644 blob {blob}\t{n}\n" for n, blob in enumerate(sorted(pointers)))
        tree = run.text("mktree", input=lines.encode())
        # Empty patterns: those that the user has set for checkouts would leave files out, silently
        args = ("fetch", "--include=", "--exclude=", remote, tree)
        answer = git_lfs(*args, config={"lfs.fetchrecentalways": "false"}, env={})
        return str(answer.error("")).removeprefix(": ") if answer.code else ""
