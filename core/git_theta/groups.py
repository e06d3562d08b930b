"""Single parameter groups of a stored file, without the rest of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase

import blake3

from git_theta.errors import MissingPackError, PackError
from git_theta.items import RESTORE, item_identity, item_name, told
from git_theta.joined import Joined
from git_theta.metadata import Metadata
from git_theta.skeleton import Origin, read_skeleton
from git_theta.source import BLOCK, Source
from git_theta.storage.decode import EMPTY, Reader
from git_theta.table import View, read_table
from git_theta.views import view_source


def match_groups(metadata: Metadata, patterns: Sequence[str]) -> list[int]:
    """The item numbers of groups whose names match a pattern of the shell's kind, in order."""
    return [
        number
        for number, group in enumerate(metadata.groups, 1)
        if any(fnmatchcase(group.name, pattern) for pattern in patterns)
    ]


def open_groups(origin: Origin, groups: Collection[int]) -> dict[int, Source]:
    """The elements of groups by item number: contiguous, little-endian, and checked when read.

    The file's skeleton is only looked at for groups that are views of something else.

    Raises
    ------
    MissingPackError
        When the store lacks one.
    PackError
        When a pack is corrupt; or at the end of a group that is read and is not what it should be.
    """
    metadata, path, store, plugins = origin
    reader = Reader(store, plugins)
    identities = {number: item_identity(metadata, number, path) for number in groups}
    located = store.find(identity for identity, _ in identities.values())
    views = {}
    if any(nbytes and identity not in located for identity, nbytes in identities.values()):
        views = views_of(origin)
    found: dict[int, Source] = {}
    for number, (identity, nbytes) in identities.items():
        if not nbytes:
            source: Source = EMPTY
        elif identity in located or number not in views:
            source = _open(origin, reader, number)
        else:
            view, items = views[number]
            group = metadata.groups[number - 1]
            runs = Joined([_open(origin, reader, item) for item in items])
            source = view_source(runs, group.dtype, group.shape, view.offset, view.strides)
        found[number] = Checked(source, metadata, number, path)
    return found


def views_of(origin: Origin) -> dict[int, tuple[View, list[int]]]:
    """The groups that are views of items, by number: how, and of which items.

    Raises
    ------
    MissingPackError
        When the store lacks some of the skeleton.
    """
    table, _ = read_table(read_skeleton(origin), origin.metadata, origin.path)
    return {
        view.group: (view, list(table.items[view.run : view.run + view.runs]))
        for view in table.views
    }


class Checked(Source):
    """A group; reading all of its blocks ends with an error if they are not what they should be."""

    def __init__(self, source: Source, metadata: Metadata, number: int, path: str) -> None:
        self.size = source.size
        self._source, self._metadata, self._number, self._path = source, metadata, number, path

    def _read(self, offset: int, nbytes: int) -> bytes | memoryview:
        return self._source.read(offset, nbytes)

    def blocks(self, nbytes: int = BLOCK) -> Iterator[bytes | memoryview]:
        """All bytes in order; the last of them only count if no error follows them."""
        hasher = blake3.blake3()
        for block in self._source.blocks(nbytes):
            hasher.update(block)
            yield block
        expected = self._metadata.groups[self._number - 1].digest
        if hasher.digest() != expected:
            name = item_name(self._metadata, self._number)
            raise PackError(
                f"{self._path}, {name}: expected the digest {expected.hex()}, "
                f"found {hasher.hexdigest()}",
                remedy=RESTORE,
            )


def _open(origin: Origin, reader: Reader, item: int) -> Source:
    metadata, path, store, _ = origin
    identity, nbytes = item_identity(metadata, item, path)
    if not nbytes:
        return EMPTY
    try:
        source = reader.open(identity)
    except (MissingPackError, PackError) as fault:
        raise told(fault, metadata, path, store, item) from fault
    if source.size != nbytes:
        found = f"expected {nbytes} bytes, found {source.size}"
        raise PackError(f"{path}, {item_name(metadata, item)}: {found}", remedy=RESTORE)
    return source
