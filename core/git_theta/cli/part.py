"""What ``git theta checkout --param`` does: write some parameter groups as a safetensors file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from git_theta.errors import GitError, LocalChangesError, StoreError
from git_theta.formats.interface import TensorData
from git_theta.formats.safetensors import Safetensors
from git_theta.git.permissions import users_umask
from git_theta.git.repository import Repository
from git_theta.git.tracked import Entry, quoted
from git_theta.groups import match_groups
from git_theta.metadata import Metadata, parse
from git_theta.progress import progress
from git_theta.remotes.part import groups_fetched
from git_theta.source import BLOCK, Source

SHOWN = 5
"""So many names of groups are in an error."""


def write_part(
    repository: Repository, entry: Entry, patterns: Sequence[str], output: Path, *, force: bool
) -> tuple[int, int]:
    """Write the groups whose names match to a file; how many, and bytes of their elements.

    Memory does not grow with the groups. On the disk there is room for all of them twice meanwhile.

    Raises
    ------
    GitError
        When no group matches a pattern.
    LocalChangesError
        When there is such a file, and not ``force``.
    CheckpointError
        When a safetensors file cannot hold them.
    StoreError
        When the file cannot be written.
    """
    if os.path.lexists(output) and not force:
        raise LocalChangesError(
            f"{quoted(str(output))} exists already", remedy="Overwrite it with --force"
        )
    text = repository.blob(entry.oid).replace(b"\r\n", b"\n")
    metadata = parse(text, entry.path)
    for pattern in patterns:
        if not match_groups(metadata, [pattern]):
            raise _no_match(metadata, entry.path, pattern)
    groups = match_groups(metadata, patterns)
    sources = groups_fetched(repository, metadata, entry.path, entry.oid, groups)
    total = sum(source.size for source in sources.values())
    with progress(f"Writing {quoted(str(output))}", total) as advance:
        tensors = {
            metadata.groups[number - 1].name: TensorData(
                metadata.groups[number - 1].dtype,
                metadata.groups[number - 1].shape,
                _Told(source, advance),
            )
            for number, source in sources.items()
        }
        try:
            _write(tensors, output)
        except OSError as fault:
            raise StoreError(
                f"Cannot write {quoted(str(output))}: {fault}",
                remedy="Free some space, or write it elsewhere",
            ) from fault
    return len(tensors), total


class _Told(Source):
    """A source that tells how far the reading of its blocks is."""

    def __init__(self, source: Source, advance: Callable[[int], None]) -> None:
        self.size = source.size
        self._source, self._advance = source, advance

    def _read(self, offset: int, nbytes: int) -> bytes | memoryview:
        return self._source.read(offset, nbytes)

    def blocks(self, nbytes: int = BLOCK) -> Iterator[bytes | memoryview]:
        for block in self._source.blocks(nbytes):
            yield block
            self._advance(len(block))


def _write(tensors: dict[str, TensorData], output: Path) -> None:
    """Write beside the file, and give it its name when all of it is right."""
    fd, name = tempfile.mkstemp(prefix=".git-theta-", dir=output.parent)
    os.close(fd)
    temporary = Path(name)
    try:
        with temporary.open("wb") as out:
            Safetensors().write(tensors, None, out)
        temporary.chmod(0o666 & ~users_umask())
        temporary.replace(output)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _no_match(metadata: Metadata, path: str, pattern: str) -> GitError:
    names = [group.name for group in metadata.groups]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    found = ", ".join(ascii(name) for name in names[:SHOWN]) + more if names else "none at all"
    return GitError(
        f"Expected parameter groups of {quoted(path)} that match {pattern!r}, found none; "
        f"it has {found}",
        remedy="git theta show PATH lists them; quote patterns, so that the shell leaves them",
    )
