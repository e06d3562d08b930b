"""Reading git's objects as they are: replacements that the user has set are not followed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple

from git_theta.errors import GitError
from git_theta.git import run

PLAIN = {**run.UNREPLACED, "LC_ALL": "C"}
"""Variables with which git shows what is there."""

_BLOCK = 2**20
_SMALL = ("-c", "core.packedGitWindowSize=8m", "-c", "core.packedGitLimit=64m")


class Named(NamedTuple):
    """An object that git has."""

    oid: str
    kind: str
    """``commit``, ``tree``, ``blob`` or ``tag``."""
    size: int
    """In bytes."""


class Objects:
    """The objects of the repository of the current folder; close it after use."""

    def __init__(self) -> None:
        self._batches: dict[str, subprocess.Popen[bytes]] = {}
        self.algorithm = run.text("rev-parse", "--show-object-format")
        """With what objects are named: ``sha1`` or ``sha256``."""
        self.width = 32 if self.algorithm == "sha256" else 20
        """Bytes in a name."""

    def __enter__(self) -> Objects:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes; the next question starts new ones, which see new objects."""
        for process in self._batches.values():
            process.kill()
            process.communicate()
        self._batches.clear()

    def find(self, name: str) -> Named | None:
        """The object of a name in git's syntax; None where there is none."""
        if "\n" in name:  # the protocol is one name a line
            return None
        fields = self._ask("--batch-check", name).readline().decode(errors="replace").split()
        if len(fields) != 3 or not fields[2].isdigit():
            return None
        return Named(fields[0], fields[1], int(fields[2]))

    def read(self, oid: str, kind: str) -> bytes:
        """The content of an object.

        Raises
        ------
        GitError
            When there is no such object of this kind.
        """
        return b"".join(self.blocks(oid, kind))

    def blocks(self, oid: str, kind: str = "blob") -> Iterator[bytes]:
        """The content of an object in blocks; all of it has to be taken."""
        output = self._ask("--batch", oid)
        header = output.readline().decode(errors="replace").split()
        if len(header) != 3 or header[1] != kind:
            raise GitError(
                f"Expected the {kind} {oid}, found {' '.join(header[1:2]) or 'nothing'}",
                remedy="git fsck tells what the repository lacks; fetch it from another clone",
            )
        left = int(header[2])
        while left:
            data = output.read(min(left, _BLOCK))
            if not data:
                raise GitError(f"git cat-file ended while it gave the {kind} {oid}")
            left -= len(data)
            yield data
        output.read(1)

    def _ask(self, mode: str, name: str) -> IO[bytes]:
        process = self._batches.get(mode)
        if process is None:
            process = subprocess.Popen(
                ["git", *_SMALL, "cat-file", mode],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **PLAIN},
            )
            self._batches[mode] = process
        assert process.stdin
        assert process.stdout
        process.stdin.write(os.fsencode(name) + b"\n")
        process.stdin.flush()
        return process.stdout


def commits(revisions: Sequence[str]) -> Iterator[str]:
    """Names of all commits that revisions reach (``^REVISION``: and that does not), parents first.

    Raises
    ------
    GitError
        When git cannot walk the history.
    """
    command = ("git", "rev-list", "--topo-order", "--reverse", "--stdin")
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **PLAIN}
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write("".join(f"{revision}\n" for revision in revisions).encode())
        process.stdin.close()
        for line in process.stdout:
            yield line.decode().strip()
    if process.returncode:
        raise GitError(
            f"git rev-list failed with exit code {process.returncode}",
            remedy="git fsck tells what the repository lacks",
        )
