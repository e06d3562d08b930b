"""Stores what a store holds once more in another one, version by version, the oldest first.

So every buffer can be told in terms of those of all older versions, not only of those that were
known when it was added. For :mod:`git_theta.repack`, which decides what becomes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import PurePosixPath
from typing import NamedTuple

from git_theta.bundles import gather
from git_theta.contents import Item, find_table, read_contents
from git_theta.digested import Digested
from git_theta.digests import digest
from git_theta.errors import FileChangedError, MetadataError, PackError
from git_theta.items import RESTORE, where
from git_theta.joined import Joined
from git_theta.lacking import related
from git_theta.lineage import MAX_SHORT, Lineage
from git_theta.metadata import Metadata, parse, parse_head
from git_theta.plugins import Plugins
from git_theta.skeleton import Origin
from git_theta.source import Source
from git_theta.storage.buffers import store_buffers
from git_theta.storage.chain import Ways
from git_theta.storage.decode import EMPTY, Reader
from git_theta.storage.index import Location
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import SHORT, BufferId
from git_theta.storage.wanted import Wanted
from git_theta.table import Run, Table
from git_theta.updates.grounds import Bases, Candidate

NEAR = 4
"""Earlier versions of its path that a file is always compared with."""
FAR = 12
"""Earlier versions that it is compared with where those do not help."""
BATCH = 2**14
"""Buffers that are open at once."""


class Version(NamedTuple):
    """A version of a file in history."""

    path: str
    text: Callable[[], bytes]
    """Reads its metadata."""


class _Fresh(NamedTuple):
    """A buffer that is stored anew."""

    item: Item
    source: Source
    bases: tuple[BufferId, ...]
    """What it stood on so far."""


class Rewriter:
    """Copies from one store into another; ``advance`` is told how many bytes are done."""

    def __init__(
        self,
        old: LocalStore,
        new: LocalStore,
        plugins: Plugins,
        advance: Callable[[int], None],
        *,
        dense: bool,
    ) -> None:
        self.packs: dict[str, None] = {}
        """Names of the packs that were written, in order."""
        self._old, self._new, self._plugins = old, new, plugins
        self._advance, self._dense = advance, dense
        self._older: list[Version] = []

    def add_version(self, version: Version) -> None:
        """Store what a version consists of, as far as the old store has it.

        Raises
        ------
        PackError, MissingPackError, MissingPluginError
            When something that the old store holds cannot be read.
        """
        path, text = version
        try:
            metadata = parse(text().replace(b"\r\n", b"\n"), path)
        except MetadataError:  # it describes no file: fsck tells
            return
        near, far = self._relatives(path)

        def find(older: Metadata) -> Table | None:
            return find_table(Origin(older, path, self._old, self._plugins))

        lineage = Lineage(near, far, {group.name for group in metadata.groups}, find)
        skeletons = [] if metadata.skeleton.cuts else _skeletons(near)
        items = read_contents(metadata, path, store=self._old, plugins=self._plugins)
        for batch in _batches(items):
            fresh = self._fresh(batch)
            self._store(self._wanted(fresh, skeletons, lineage), fresh)
        self._older.append(version)

    def add_rest(self, packs: Iterable[str]) -> None:
        """Store what else these packs hold, no version refers to it; errors as for a version."""
        rest, standing = self._rest(packs)
        for depth in sorted({depth for depth, _ in rest}):
            for batch in _batches(item for at, item in rest if at == depth):
                fresh = [
                    one._replace(bases=(*one.bases, *standing.get(one.item.buffer, ())))
                    for one in self._fresh(batch)
                ]
                self._store(self._wanted(fresh), fresh)

    def _rest(
        self, packs: Iterable[str]
    ) -> tuple[list[tuple[int, Item]], dict[BufferId, list[BufferId]]]:
        """What is not in the new store yet, with its depth; and what stands on it."""
        rest: dict[BufferId, tuple[int, Item]] = {}
        standing: dict[BufferId, list[BufferId]] = {}
        for name in sorted(packs):
            pack = self._old.pack(name)
            for payload in (pack.payload(number) for number in range(len(pack))):
                buffers = [buffer for buffer, _ in payload.buffers]
                for slot, buffer in enumerate(buffers):
                    for base in payload.bases_of(slot) if payload.bases else ():
                        standing.setdefault(base, []).append(buffer)
                done = Ways(self._new).find(buffers)
                for buffer, nbytes in payload.buffers:
                    if buffer not in done:
                        rest.setdefault(buffer, (payload.depth, Item(buffer, nbytes, -1)))
        ordered = sorted(rest.values(), key=lambda found: (found[0], found[1].buffer))
        return ordered, {base: sorted(set(found)) for base, found in standing.items()}

    def _fresh(self, items: Iterable[Item]) -> list[_Fresh]:
        """Those of the items that the old store can give and the new one has not, each once."""
        reader = Reader(self._old, self._plugins)  # it keeps all that it opened
        wanted: dict[BufferId, Item] = {}
        for item in items:
            wanted.setdefault(item.buffer, item)
        located, done = self._old.find(wanted), Ways(self._new).find(wanted)
        readable = Ways(self._old).find(wanted, located)
        return [
            _Fresh(
                item,
                reader.open(item.buffer, located[item.buffer]),
                self._bases(readable[item.buffer]),
            )
            for item in wanted.values()
            if item.buffer in readable and item.buffer not in done
        ]

    def _bases(self, location: Location) -> tuple[BufferId, ...]:
        payload = self._old.pack(location.pack).payload(location.payload)
        return payload.bases_of(location.slot)

    def _relatives(self, path: str) -> tuple[list[bytes], Callable[[], Iterator[bytes]]]:
        """Metadata of what a file may descend from: at hand, and where that does not help."""
        same = [version for version in reversed(self._older) if version.path == path]
        suffix = PurePosixPath(path).suffix

        def far() -> Iterator[bytes]:
            others = [
                version
                for version in reversed(self._older)
                if version.path != path and PurePosixPath(version.path).suffix == suffix
            ]
            for version in [*same[NEAR:], *others][:FAR]:
                yield version.text()

        return [version.text() for version in same[:NEAR]], far

    def _wanted(
        self,
        fresh: Sequence[_Fresh],
        skeletons: Sequence[Candidate] = (),
        lineage: Lineage | None = None,
    ) -> Iterator[Wanted]:
        """What to store; the skeleton's buffers by themselves, short numbers together."""
        numbers = [one for one in fresh if one.item.number]
        for item, source, bases in (one for one in fresh if not one.item.number):
            candidates = [*map(Candidate, bases), *skeletons]
            found = Bases() if self._dense else Bases(candidates)
            yield Wanted(((item.buffer, source.size),), source, found)
        owners = {one.item.buffer: one for one in numbers}
        file = Joined(one.source for one in numbers)
        digested, runs, at = Digested(file), [], 0
        for item, source, _ in numbers:
            runs.append((item.buffer, Run(item.buffer.dtype, at, source.size, False)))
            digested.add(at, source.size, item.buffer.digest)
            at += source.size
        many = sum(run.nbytes < SHORT for _, run in runs) > MAX_SHORT
        for wanted in gather(file, digested, runs):
            if self._dense or (many and wanted.blocks):
                yield wanted
            elif wanted.blocks:
                yield _based_each(wanted, owners, lineage)
            else:
                yield _based(wanted, owners[wanted.buffers[0][0]], lineage)

    def _store(self, wanted: Iterable[Wanted], fresh: Sequence[_Fresh]) -> None:
        try:
            places = store_buffers(self._new, self._plugins, wanted, self._advance)
        except FileChangedError:
            self._blame(fresh)
            raise
        self.packs |= dict.fromkeys(place.pack for place in places.values())

    def _blame(self, fresh: Sequence[_Fresh]) -> None:
        """Raise the error that names the pack of the first damaged buffer."""
        for item, source, _ in fresh:
            if digest(source) != item.buffer.digest:
                raise PackError(
                    f"{item.buffer} has another digest; {where(self._old, item.buffer)}",
                    remedy=RESTORE,
                )


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def _skeletons(near: Sequence[bytes]) -> list[Candidate]:
    """The skeletons of other versions that one may be a patch of."""
    heads = (parse_head(text) for text in near)
    return [
        Candidate(BufferId("U8", head.skeleton.digest))
        for head in heads
        if head and not head.skeleton.cuts
    ]


def _based(wanted: Wanted, one: _Fresh, lineage: Lineage | None) -> Wanted:
    """The same with what it may resemble; its old bases first, they served before."""
    role = one.item.role
    if role is None or lineage is None:
        return wanted._replace(bases=Bases([Candidate(base) for base in one.bases]))
    found = related(wanted, role, lineage)
    old = [Candidate(base, found.shape or ()) for base in one.bases]
    return found._replace(bases=found.bases._replace(near=[*old, *found.bases.near]))


def _based_each(
    bundle: Wanted, owners: Mapping[BufferId, _Fresh], lineage: Lineage | None
) -> Wanted:
    """The same for a bundle."""
    found = [_based(Wanted((one,), EMPTY), owners[one[0]], lineage) for one in bundle.buffers]
    near = tuple(one.bases.near for one in found)
    return bundle._replace(near=near if any(near) else ())
