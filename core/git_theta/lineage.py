"""What a file's groups were in other versions: the buffers that new ones are compared with.

By name first, which a cast to another dtype keeps; then by rename, for keys that gained or lost a
prefix. Only where to look: whether it pays to stand on a buffer is found out by looking at its
numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import takewhile
from threading import Lock
from typing import NamedTuple

from git_theta.errors import MetadataError
from git_theta.items import item_identity
from git_theta.metadata import Group, Metadata, parse
from git_theta.storage.payload import BufferId
from git_theta.table import Table
from git_theta.updates.elementwise import convertible
from git_theta.updates.grounds import Bases, Candidate

MAX_RENAMED = 2
"""Most groups of another name that one group is compared with, in each version."""


MAX_SHORT = 4096
"""Most short groups for which bases are found: each takes a quarter of a millisecond."""
SHARE = 16
"""Metadata is read to find bases of short groups if it is less than so many times their bytes."""


class Role(NamedTuple):
    """What a run is in its file."""

    group: Group
    part: int | None = None
    """None: it is all of the group. Otherwise which run it is of the buffer that the group, a view
    or longer than a run may be, lies in."""


class _Version:
    """The groups of one version, by name and by what they may be called now."""

    def __init__(
        self, metadata: Metadata, number: int, read_table: Callable[[Metadata], Table | None]
    ) -> None:
        self._metadata, self._number, self._read_table = metadata, number, read_table
        self._by_name = {group.name: group for group in metadata.groups}
        self._gone: dict[tuple[str, tuple[int, ...]], list[Group]] | None = None

    def candidates(self, role: Role, names: Collection[str]) -> Iterator[Candidate]:
        """The buffers that had a role here."""
        for old in self._like(role.group, names):
            if role.part is None:
                yield Candidate(BufferId(old.dtype, old.digest), old.shape, self._number)
            elif old.dtype == role.group.dtype and (old.name, role.part) in self._parts:
                yield Candidate(self._parts[old.name, role.part], (), self._number)

    @cached_property
    def _parts(self) -> dict[tuple[str, int], BufferId]:
        """Buffers that are no group's whole value, by the groups that look at them."""
        table = self._read_table(self._metadata)
        if table is None:
            return {}
        return {
            (group, part): item_identity(self._metadata, table.items[run])[0]
            for run, (group, part) in parts(table, self._metadata.groups).items()
        }

    def _like(self, group: Group, names: Collection[str]) -> Iterator[Group]:
        """The group of the same name, else those that may have been renamed to it."""
        same = self._by_name.get(group.name)
        if same is not None:
            cast = same.shape == group.shape and convertible(same.dtype, group.dtype)
            if same.dtype == group.dtype or cast:
                yield same
            return
        if self._gone is None:
            self._gone = self._find_gone(names)
        alike = self._gone.get((group.dtype, group.shape), ())
        ranked = sorted(alike, key=lambda old: (-_common_end(old.name, group.name), old.name))
        yield from ranked[:MAX_RENAMED]

    def _find_gone(self, names: Collection[str]) -> dict[tuple[str, tuple[int, ...]], list[Group]]:
        """Groups that the new file has under no name, by dtype and shape."""
        gone: dict[tuple[str, tuple[int, ...]], list[Group]] = {}
        for group in self._by_name.values():
            if group.name not in names:
                gone.setdefault((group.dtype, group.shape), []).append(group)
        return gone


def parts(table: Table, groups: Sequence[Group]) -> dict[int, tuple[str, int]]:
    """For runs that views look at: the first such group, and which of its runs each is."""
    found: dict[int, tuple[str, int]] = {}
    for view in table.views:
        for part in range(view.runs):
            found.setdefault(view.run + part, (groups[view.group - 1].name, part))
    return found


def _common_end(one: str, other: str) -> int:
    """How many characters two names have in common at their ends."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


class Lineage:
    """Versions that a new file may resemble.

    Parameters
    ----------
    near
        Metadata that git has at the file's path, the likeliest first.
    far
        Gives more metadata, which takes time to find: the path's history, other files.
    names
        Names of all groups of the new file.
    read_table
        Reads the table of a version; None where that cannot be done.
    """

    def __init__(
        self,
        near: Iterable[bytes],
        far: Callable[[], Iterable[bytes]],
        names: Collection[str],
        read_table: Callable[[Metadata], Table | None] = lambda _: None,
    ) -> None:
        self._near_texts, self._far_texts = dict.fromkeys(near), far
        self._names, self._read_table = names, read_table
        self._lock = Lock()  # git is asked in one thread at a time

    @cached_property
    def _near(self) -> list[_Version]:
        return list(self._versions(self._near_texts, 0))

    @cached_property
    def _far(self) -> list[_Version]:
        older = (text for text in self._far_texts() if text not in self._near_texts)
        return list(self._versions(dict.fromkeys(older), len(self._near_texts)))

    def _versions(self, texts: Iterable[bytes], first: int) -> Iterator[_Version]:
        for number, text in enumerate(texts, first):
            try:
                yield _Version(parse(text), number, self._read_table)
            except MetadataError:  # damaged, or of a later version: nothing to compare with
                continue

    def pays(self, count: int, nbytes: int) -> bool:
        """Whether bases are worth finding for so many short groups of so many bytes together."""
        texts = sum(map(len, self._near_texts))
        return bool(texts) and count <= MAX_SHORT and nbytes > texts // SHARE

    def bases(self, role: Role) -> Bases:
        """What a run of this role may resemble."""
        near = [base for version in self._near for base in version.candidates(role, self._names)]

        def far() -> Iterator[Candidate]:
            with self._lock:
                versions = self._far
            for version in versions:
                yield from version.candidates(role, self._names)

        return Bases(near, far)
