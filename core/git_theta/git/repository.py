"""The repository that a process works in: where its store lies, what git has for a path."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from git_theta.errors import GitError
from git_theta.git import run
from git_theta.git.permissions import share
from git_theta.metadata import MAX_BYTES, parse_head
from git_theta.storage.proven import Proven

if TYPE_CHECKING:
    from git_theta.git.hook_watch import HookWatch
    from git_theta.git.replaced import Replaced
    from git_theta.storage.local import LocalStore


class Version(NamedTuple):
    """Metadata that git has for a path."""

    text: bytes
    """LF line ends."""
    staged: bool
    """Whether it is in the index and not in HEAD: no commit has it yet."""


class Repository:
    """The repository of the current folder; its store is opened when it is first needed."""

    def __init__(self) -> None:
        self._batches: dict[str, subprocess.Popen[bytes]] = {}
        self._process = os.getpid()

    def __enter__(self) -> Repository:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def flush(self) -> None:
        """Do what an answer to git need not wait for."""
        if "store" in self.__dict__:
            self.store.flush()

    def close(self) -> None:
        """End the processes and close the files that were opened."""
        for process in self._batches.values():
            process.communicate()
        self._batches.clear()
        if "replaced" in self.__dict__:
            self.replaced.close()
        if "store" in self.__dict__:
            self.store.close()
            del self.__dict__["store"]

    @cached_property
    def folder(self) -> Path:
        """git's folder that all work trees share, absolute; from now on written to as shared."""
        folder = _plain_folder() or Path(run.text("rev-parse", "--git-common-dir")).resolve()
        share(folder)
        return folder

    @cached_property
    def top(self) -> Path | None:
        """The top of the work tree; None in a bare repository and in git's own folder."""
        top = run.text("rev-parse", "--show-toplevel", ok=(0, 128))
        return Path(top) if top else None

    @cached_property
    def store(self) -> LocalStore:
        """The local store.

        Raises
        ------
        StoreError
            When it cannot be opened.
        """
        from git_theta.git.durability import flushes_objects
        from git_theta.storage.local import LocalStore

        store = LocalStore(self.store_folder, flushes=flushes_objects)
        if self.store_folder != self.folder / "theta":
            from git_theta.git.store_folder import join

            join(self.store_folder, store.packs, self.folder)
            store.refresh()
        store.warn_damaged()
        return store

    @cached_property
    def store_folder(self) -> Path:
        """The folder of the local store, which other repositories may share.

        Raises
        ------
        StoreError
            When the configuration names no absolute path.
        """
        from git_theta.git.store_folder import store_folder

        return store_folder(self.folder)

    @cached_property
    def replaced(self) -> Replaced:
        """Files that another version may replace."""
        from git_theta.git.replaced import Replaced

        return Replaced(self.proven)

    @cached_property
    def proven(self) -> Proven:
        """Which metadata has been found true."""
        return Proven(self.folder / "theta" / "proven")

    @cached_property
    def hook(self) -> HookWatch:
        """What sees to the hook that sends weights with a push."""
        from git_theta.git.hook_watch import HookWatch

        return HookWatch(self.folder)

    def start(self) -> None:
        """Start what answers :meth:`versions`, so that nobody waits for it then."""
        for mode in ("--batch-check", "--batch"):
            self._batch(mode)

    def objects(self, names: Sequence[str]) -> list[tuple[str, str, int] | None]:
        """Id, type and length in bytes of each named object; None where there is none.

        Raises
        ------
        GitError
            When git ends before it answers.
        """
        found: list[tuple[str, str, int] | None] = []
        for name in names:
            if "\n" in name:  # the batch protocol is one name a line
                found.append(_object(name))
                continue
            fields, _ = self._ask("--batch-check", name)
            missing = len(fields) != 3 or fields[1] == "missing" or not fields[2].isdigit()
            found.append(None if missing else (fields[0], fields[1], int(fields[2])))
        return found

    def blob(self, oid: str) -> bytes:
        """The content of a blob.

        Raises
        ------
        GitError
            When there is no such blob, or git ends before all of it came.
        """
        fields, output = self._ask("--batch", oid)
        found = len(fields) == 3 and fields[2].isdigit()
        content = output.read(int(fields[2]) + 1) if found else b""
        if found and not content.endswith(b"\n"):
            raise self._ended("--batch")
        if not found or fields[1] != "blob":
            raise GitError(f"Expected a blob {oid}, found {fields[1] if found else 'none'}")
        return content[:-1]

    def versions(self, path: str) -> list[Version]:
        """The metadata that git has for a path: index entry, unmerged stages, HEAD."""
        names = [f":0:{path}", f":2:{path}", f":3:{path}", f":1:{path}", f"HEAD:{path}"]
        found = self.objects(names)
        oids = [entry[0] for entry in found if entry and _may_be_metadata(entry)]
        staged = found[0][0] if found[0] and found[0] != found[-1] else ""
        versions = [
            Version(self.blob(oid).replace(b"\r\n", b"\n"), oid == staged)
            for oid in dict.fromkeys(oids)
        ]
        return [version for version in versions if parse_head(version.text)]

    def _batch(self, mode: str) -> subprocess.Popen[bytes]:
        if self._process != os.getpid():  # forked: the parent talks to those
            self._inherited, self._batches, self._process = self._batches, {}, os.getpid()
        process = self._batches.get(mode)
        if process is None:
            _ = self.folder  # where there is no repository, this says so
            process = subprocess.Popen(
                ["git", "cat-file", mode],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | run.UNREPLACED,
            )
            self._batches[mode] = process
        return process

    def _ask(self, mode: str, name: str) -> tuple[list[str], IO[bytes]]:
        """The words of the line that git answers, and where the content comes after it.

        Raises
        ------
        GitError
            When there is no answer: a git that ended knows nothing of what there is.
        """
        process = self._batch(mode)
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(os.fsencode(name) + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line.endswith(b"\n"):
            raise self._ended(mode)
        return line.decode(errors="replace").split(), process.stdout

    def _ended(self, mode: str) -> GitError:
        """What is to be said of a process that ended; the next question starts another one."""
        process = self._batches.pop(mode)
        with suppress(BrokenPipeError):  # it takes no more, and what it takes is of no use
            process.communicate()
        return GitError(
            f"git cat-file {mode} ended with code {process.returncode} before it answered",
            remedy="Run the command again; git fsck tells whether git's objects are whole",
        )


def _plain_folder() -> Path | None:
    """git's folder where anyone can tell: at the top of the only work tree, as in most filters.

    Everything else (a variable that names it, a subfolder, another work tree) is git's to say.
    """
    folder = Path(".git")
    named = any(name in os.environ for name in ("GIT_DIR", "GIT_COMMON_DIR"))
    if named or not (folder / "HEAD").is_file() or (folder / "commondir").exists():
        return None
    if not ((folder / "objects").is_dir() and (folder / "refs").is_dir()):
        return None
    return folder.resolve()


def _may_be_metadata(found: tuple[str, str, int]) -> bool:
    return found[1] == "blob" and 0 < found[2] <= MAX_BYTES


def _object(name: str) -> tuple[str, str, int] | None:
    oid = run.text("rev-parse", "--verify", "--quiet", "--end-of-options", name, ok=(0, 1, 128))
    if not oid:
        return None
    return oid, run.text("cat-file", "-t", oid), int(run.text("cat-file", "-s", oid))
