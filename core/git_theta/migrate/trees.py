"""git's tree objects as values: modes are kept as they are, also old ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from git_theta.errors import GitError


class TreeEntry(NamedTuple):
    """An entry of a tree."""

    mode: bytes
    """Octal, as written in the tree."""
    name: bytes
    oid: str

    @property
    def is_tree(self) -> bool:
        """Whether it is a folder."""
        return self.mode.lstrip(b"0") == b"40000"

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file: no link, no submodule."""
        return self.mode.lstrip(b"0").startswith(b"100")


def parse_tree(data: bytes, width: int) -> list[TreeEntry]:
    """The entries of a tree; ``width`` is that of an object's name in bytes.

    Raises
    ------
    GitError
        When it is malformed.
    """
    entries = []
    at = 0
    while at < len(data):
        end = data.find(b"\0", at)
        mode, space, name = data[at:end].partition(b" ")
        at = end + 1 + width
        if end < 0 or not space or at > len(data):
            raise GitError("Expected a tree object, found one that is malformed")
        entries.append(TreeEntry(mode, name, data[end + 1 : at].hex()))
    return entries


def print_tree(entries: Iterable[TreeEntry]) -> bytes:
    """The tree object of entries in git's order."""
    return b"".join(
        entry.mode + b" " + entry.name + b"\0" + bytes.fromhex(entry.oid) for entry in entries
    )


def with_entry(entries: Sequence[TreeEntry], entry: TreeEntry) -> list[TreeEntry]:
    """Entries with one more, which takes the place of a file of the same name."""
    others = [other for other in entries if other.name != entry.name]
    at = sum(1 for other in others if _key(other) < _key(entry))
    return [*others[:at], entry, *others[at:]]


def _key(entry: TreeEntry) -> bytes:
    return entry.name + b"/" if entry.is_tree else entry.name
