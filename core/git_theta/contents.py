"""The buffers that one version of a file is stored in, as far as a store can tell.

For commands that look at what versions share. A version that lacks something is no error here:
what metadata alone tells is given all the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import NamedTuple

from git_theta.chunks import read_entries
from git_theta.digests import digest
from git_theta.errors import MetadataError, MissingPackError, PackError
from git_theta.items import RESTORE, item_identity, where
from git_theta.joined import Joined
from git_theta.lineage import Role, parts
from git_theta.metadata import Metadata
from git_theta.plugins import Plugins
from git_theta.skeleton import Entry, Origin, read_skeleton
from git_theta.source import Source
from git_theta.storage.decode import Reader
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import BufferId
from git_theta.table import Table, read_table


class Item(NamedTuple):
    """A buffer that is read to rebuild a file."""

    buffer: BufferId
    nbytes: int
    """Its length as the metadata has it."""
    number: int
    """Which item it is: 0 of the skeleton, then groups, then other buffers."""
    role: Role | None = None
    """What it is in the file; None for the skeleton and for what no group looks at."""


def read_contents(
    metadata: Metadata, path: str, *, store: LocalStore, plugins: Plugins
) -> list[Item]:
    """What a version is stored in: skeleton, then groups and buffers in the order of the file.

    Where the store lacks some of the skeleton, all groups are given, even those that are views.

    Raises
    ------
    PackError
        When the skeleton is damaged.
    """
    origin = Origin(metadata, path, store, plugins)
    levels = _levels(origin)
    items = [Item(*entry, 0) for level in reversed(levels) for entry in level]
    table = _table(origin)
    if table is None:
        groups = enumerate(metadata.groups, 1)
        roles: dict[int, Role | None] = {number: Role(group) for number, group in groups}
        roles |= dict.fromkeys(range(len(roles) + 1, len(roles) + 1 + len(metadata.buffers)))
    else:
        roles = _roles(metadata, table)
    items += [Item(*item_identity(metadata, number), number, roles[number]) for number in roles]
    return [item for item in items if item.nbytes]


def find_table(origin: Origin) -> Table | None:
    """The table of a version; None where it cannot be read."""
    with contextlib.suppress(PackError):
        return _table(origin)
    return None


def _table(origin: Origin) -> Table | None:
    with contextlib.suppress(MissingPackError, MetadataError):  # fsck tells
        return read_table(read_skeleton(origin), origin.metadata, origin.path)[0]
    return None


def _roles(metadata: Metadata, table: Table) -> dict[int, Role | None]:
    """What the items of a file are in it, in its order; views are none."""
    viewed = parts(table, metadata.groups)
    by_name = {group.name: group for group in metadata.groups} if viewed else {}
    roles: dict[int, Role | None] = {}
    for run, number in enumerate(table.items):
        if number in roles:
            continue
        if number <= len(metadata.groups):
            roles[number] = Role(metadata.groups[number - 1])
        elif run in viewed:
            name, part = viewed[run]
            roles[number] = Role(by_name[name], part)
        else:
            roles[number] = None
    return roles


def _levels(origin: Origin) -> list[list[Entry]]:
    """The skeleton's buffers: itself if it was not cut, else lists of chunks down to the chunks.

    Ends early where the store lacks a list.
    """
    top = origin.metadata.skeleton
    levels = [[(BufferId("U8", top.digest), top.nbytes)]]
    for _ in range(top.cuts):
        entries = _open(origin, levels[-1])
        if entries is None:
            break
        with contextlib.suppress(MetadataError):
            levels.append(list(read_entries(entries, origin.path)))
    return levels


def _open(origin: Origin, level: Sequence[Entry]) -> Source | None:
    """A list of chunks, verified; None if the store lacks some of it."""
    store, reader = origin.store, Reader(origin.store, origin.plugins)
    located = store.find(dict(level))
    if any(buffer not in located for buffer, _ in level):
        return None
    sources = [reader.open(buffer, located[buffer]) for buffer, _ in level]
    for (buffer, _), source in zip(level, sources, strict=True):
        if digest(source) != buffer.digest:
            raise PackError(
                f"{origin.path}, the skeleton: {buffer} has another digest; {where(store, buffer)}",
                remedy=RESTORE,
            )
    return Joined(sources)
