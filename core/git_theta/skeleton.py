"""The skeleton of a stored file: lists of chunks, read down to the bytes themselves.

A file that no format knows is all skeleton, so its chunks are opened where it is read and closed
again: memory must not grow with their number. Writing is in :mod:`git_theta.chunks`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from threading import Lock
from typing import NamedTuple

from git_theta.chunks import count_entries, read_entries
from git_theta.digests import verify_item
from git_theta.errors import MetadataError, MissingPackError, PackError
from git_theta.items import missing, told
from git_theta.joined import Joined
from git_theta.metadata import Metadata
from git_theta.plugins import Plugins
from git_theta.source import Source
from git_theta.storage.decode import Reader
from git_theta.storage.index import Location
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import BufferId

BATCH = 500
"""Chunks that are opened together: some 40 MB."""
OPEN_BATCHES = 8
"""Batches that stay open; the blocks that threads read at once lie in fewer."""

Entry = tuple[BufferId, int]
"""A chunk, and its length in bytes."""


class Origin(NamedTuple):
    """Whose skeleton is read, and from where."""

    metadata: Metadata
    path: str
    store: LocalStore
    plugins: Plugins


class Chunks(Source):
    """Stored buffers one after another, each opened when something near it is read.

    That the store has them all is found out at once.

    Raises
    ------
    MissingPackError
        When it does not; the message names packs.
    PackError
        When one of the packs is corrupt.
    """

    def __init__(self, origin: Origin, count: int, batch: Callable[[int], list[Entry]]) -> None:
        self._origin = origin
        self._count, self._entries = count, batch
        self._opened: OrderedDict[int, Joined] = OrderedDict()
        self._lock = Lock()
        self._starts = [0]
        packs: set[str] = set()
        for number in range(count):
            entries = batch(number)
            self._starts.append(self._starts[-1] + sum(nbytes for _, nbytes in entries))
            self._check(entries, packs)
        self.size = self._starts[-1]

    def _check(self, entries: list[Entry], packs: set[str]) -> None:
        """Look for what the index cannot know: packs not read yet (``packs`` are), lost bases."""
        origin = self._origin
        located = origin.store.find(dict(entries))
        doubtful = []
        for entry in entries:
            if entry[0] not in located:
                raise missing(origin.metadata, origin.path, origin.store, [0])
            best = located[entry[0]][0]
            if best.pack not in packs or best.depth > 1:
                packs.add(best.pack)
                doubtful.append(entry)
        for _ in self._open(doubtful, located):
            pass

    def _open(
        self, entries: list[Entry], located: Mapping[BufferId, Sequence[Location]]
    ) -> Iterator[Source]:
        metadata, path, store, plugins = self._origin
        reader = Reader(store, plugins)  # it keeps all that it opened
        for identity, nbytes in entries:
            try:
                source = reader.open(identity, located.get(identity, ()))
            except (MissingPackError, PackError) as fault:
                raise told(fault, metadata, path, store, 0) from fault
            if source.size != nbytes:
                raise MetadataError(
                    f"{path}: {identity} has {source.size} bytes, expected {nbytes}"
                )
            yield source

    def _read(self, offset: int, nbytes: int) -> bytes | memoryview:
        number = bisect_right(self._starts, offset) - 1
        end = offset + nbytes
        parts = []
        while offset < end:
            start = self._starts[number]
            count = min(end, self._starts[number + 1]) - offset
            parts.append(self._batch(number).read(offset - start, count))
            offset += count
            number += 1
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _batch(self, number: int) -> Joined:
        with self._lock:
            found = self._opened.pop(number, None)
            if found is None:
                entries = self._entries(number)
                found = Joined(self._open(entries, self._origin.store.find(dict(entries))))
            self._opened[number] = found
            if len(self._opened) > OPEN_BATCHES:
                self._opened.popitem(last=False)
            return found

    def verify(self) -> None:
        """Raise the error that names the pack of the first damaged chunk.

        Raises
        ------
        PackError
            When there is one.
        """
        path, store = self._origin.path, self._origin.store
        for number in range(self._count):
            entries = list(dict(self._entries(number)).items())  # a chunk may stand there often
            sources = self._open(entries, store.find(dict(entries)))
            for (identity, _), source in zip(entries, sources, strict=True):
                verify_item(source, identity, path, "the skeleton", store)


def read_skeleton(origin: Origin) -> Chunks:
    """The skeleton of a file; not verified if it was cut.

    Raises
    ------
    MissingPackError
        When the store lacks something of it.
    MetadataError
        When it is not made of lists of chunks as its metadata says.
    PackError
        When a pack is corrupt.
    """
    skeleton = origin.metadata.skeleton
    top = (BufferId("U8", skeleton.digest), skeleton.nbytes)
    level = Chunks(origin, 1, lambda _: [top])
    level.verify()
    for cut in range(skeleton.cuts):
        count = -(-count_entries(level, origin.path) // BATCH)
        if cut:
            level.verify()
        level = Chunks(origin, count, partial(_batch, level, origin.path))
    return level


def _batch(entries: Source, path: str, number: int) -> list[Entry]:
    return list(read_entries(entries, path, number * BATCH, BATCH))
