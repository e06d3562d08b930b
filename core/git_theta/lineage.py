"""What a file's groups were in other versions: the buffers that new ones are compared with.

By name first; then by rename, for keys that gained or lost a prefix. Only where to look: whether
it pays to stand on a buffer is found out by looking at its numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import takewhile
from threading import Lock

from git_theta.errors import MetadataError
from git_theta.metadata import Group, Metadata, parse
from git_theta.storage.payload import BufferId
from git_theta.updates.grounds import Bases, Candidate

MAX_RENAMED = 2
"""Most groups of another name that one group is compared with, in each version."""


class _Version:
    """The groups of one version, by name and by what they may be called now."""

    def __init__(self, metadata: Metadata) -> None:
        self._by_name = {group.name: group for group in metadata.groups}
        self._gone: dict[tuple[str, tuple[int, ...]], list[Group]] | None = None

    def like(self, group: Group, names: Collection[str]) -> Iterator[Group]:
        """The group of the same name, else those that may have been renamed to it."""
        same = self._by_name.get(group.name)
        if same is not None:
            if same.dtype == group.dtype:
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
    """

    def __init__(
        self, near: Sequence[bytes], far: Callable[[], Iterable[bytes]], names: Collection[str]
    ) -> None:
        self._near_texts, self._far_texts, self._names = near, far, names
        self._lock = Lock()  # git is asked in one thread at a time

    @cached_property
    def _near(self) -> list[_Version]:
        return list(_versions(self._near_texts))

    @cached_property
    def _far(self) -> list[_Version]:
        return list(_versions(text for text in self._far_texts() if text not in self._near_texts))

    def bases(self, group: Group) -> Bases:
        """What a group may resemble."""
        near = list(_candidates(self._near, group, self._names))

        def far() -> Iterator[Candidate]:
            with self._lock:
                versions = self._far
            return _candidates(versions, group, self._names)

        return Bases(near, far)


def _versions(texts: Iterable[bytes]) -> Iterator[_Version]:
    for text in dict.fromkeys(texts):
        try:
            yield _Version(parse(text))
        except MetadataError:  # damaged, or of a later version: nothing to compare with
            continue


def _candidates(
    versions: Iterable[_Version], group: Group, names: Collection[str]
) -> Iterator[Candidate]:
    for version in versions:
        for old in version.like(group, names):
            yield Candidate(BufferId(old.dtype, old.digest), old.shape)
