"""From buffers to packs: every buffer that the store lacks becomes a payload.

Blocks are serialized on all cores and written in order, so the same buffers give the same packs
however many threads work. What is read is hashed again: a file that changes while it is added is
noticed before anything refers to the pack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import blake3

from git_theta.errors import FileChangedError, StoreError
from git_theta.parallel import ordered_map
from git_theta.plugins import Plugins
from git_theta.source import BytesSource, Source
from git_theta.storage.index import Location
from git_theta.storage.local import LocalStore
from git_theta.storage.pack import MAX_BLOCK, PACK_BYTES, BufferId, PackWriter
from git_theta.updates.choose import Choice, choose

BUNDLE_MEMBER = 2**11
"""Buffers shorter than this may share a payload."""
BUNDLE = 2**12
"""Most decoded bytes of a payload that several buffers share."""
BATCH = 2**18
"""Bytes of short buffers that one thread serializes at a time."""


class Wanted(NamedTuple):
    """A buffer to store."""

    identity: BufferId
    data: Source
    """Its bytes, little-endian, not empty."""
    base: BufferId | None = None
    """A buffer that it may resemble."""


@dataclass(slots=True)
class _Pending:
    """A payload that is being written."""

    members: Sequence[Wanted]
    choice: Choice
    hasher: Any = field(default_factory=blake3.blake3)
    lengths: list[list[int]] = field(default_factory=list)
    serializers: list[str] = field(default_factory=list)


class _Job(NamedTuple):
    """Blocks to serialize: one of a long payload, or all of several short ones."""

    pending: Sequence[_Pending]
    part: int
    offset: int
    last: bool


def store_buffers(
    store: LocalStore,
    plugins: Plugins,
    wanted: Iterable[Wanted],
    advance: Callable[[int], None] = lambda _: None,
) -> dict[BufferId, Location]:
    """Write buffers into packs of the store, in the order given; where each lies now.

    ``advance`` is told how many bytes of buffers are done.

    Raises
    ------
    FileChangedError
        When a buffer no longer has the bytes that its digest was computed from.
    StoreError
        When the store cannot be written to.
    """
    packs = _Packs(store, plugins)
    try:
        jobs = _jobs(_pending(store, plugins, wanted), plugins)
        for job, encoded in ordered_map(lambda job: (job, _encode(job, plugins)), jobs):
            for pending, (raw, name, block) in zip(job.pending, encoded, strict=True):
                packs.write(pending, job, raw, name, block)
                advance(len(raw))
        packs.finish()
        return packs.locations
    except OSError as fault:
        raise StoreError(
            f"Cannot write to the store {store.folder}: {fault}",
            remedy="Free some space (or mend the disk), then run the command again",
        ) from fault
    finally:
        packs.close()


def _pending(store: LocalStore, plugins: Plugins, wanted: Iterable[Wanted]) -> Iterator[_Pending]:
    bundle: list[Wanted] = []
    nbytes = 0
    for item in wanted:
        size = item.data.size
        small = size < BUNDLE_MEMBER and item.base is None
        fits = small and (not bundle or item.identity.dtype == bundle[0].identity.dtype)
        if bundle and not (fits and nbytes + size <= BUNDLE):
            yield _bundle(plugins, bundle)
            bundle, nbytes = [], 0
        if small:
            bundle.append(item)
            nbytes += size
        else:
            yield _Pending([item], choose(store, plugins, *item))
    if bundle:
        yield _bundle(plugins, bundle)


def _bundle(plugins: Plugins, bundle: Sequence[Wanted]) -> _Pending:
    data = b"".join([bytes(item.data.read(0, item.data.size)) for item in bundle])
    dtype = bundle[0].identity.dtype
    update = plugins.update_type("dense").encode(BytesSource(data), None, dtype)
    assert update is not None
    return _Pending(list(bundle), Choice("dense", update))


def _jobs(pendings: Iterable[_Pending], plugins: Plugins) -> Iterator[_Job]:
    short: list[_Pending] = []
    nbytes = 0
    for pending in pendings:
        parts = pending.choice.update.parts
        size = sum(part.data.size for part in parts)
        if len(parts) == 1 and size <= BATCH:
            short.append(pending)
            nbytes += size
            if nbytes >= BATCH:
                yield _Job(short, 0, 0, True)
                short, nbytes = [], 0
            continue
        if short:
            yield _Job(short, 0, 0, True)
            short, nbytes = [], 0
        for number, part in enumerate(parts):
            block = _block_bytes(plugins, part.serializer or "planes", part.dtype)
            for offset in range(0, part.data.size, block):
                last = number == len(parts) - 1 and offset + block >= part.data.size
                yield _Job([pending], number, offset, last)
    if short:
        yield _Job(short, 0, 0, True)


def _encode(job: _Job, plugins: Plugins) -> list[tuple[bytes | memoryview, str, Any]]:
    """The bytes before serializing, the serializer that was used, the bytes after it."""
    done = []
    for pending in job.pending:
        part = pending.choice.update.parts[job.part]
        name = part.serializer or "planes"
        size = min(_block_bytes(plugins, name, part.dtype), part.data.size - job.offset)
        raw = part.data.read(job.offset, size)
        block = plugins.serializer(name).encode(raw, part.dtype)
        if len(block) >= size and size == part.data.size:
            name, block = "raw", raw
        done.append((raw, name, block))
    return done


def _block_bytes(plugins: Plugins, serializer: str, dtype: str) -> int:
    nbytes = plugins.serializer(serializer).block_bytes(dtype)
    if not 16 <= nbytes <= MAX_BLOCK or nbytes & (nbytes - 1):
        raise StoreError(
            f"The serializer {serializer} has blocks of {nbytes} bytes, expected a power of two "
            f"from 16 to {MAX_BLOCK}"
        )
    return nbytes


class _Packs:
    """The pack that is being written, and those that are done."""

    def __init__(self, store: LocalStore, plugins: Plugins) -> None:
        self.locations: dict[BufferId, Location] = {}
        self._store, self._plugins = store, plugins
        self._path: Path | None = None
        self._start = 0
        self._new: list[tuple[int, int, int, BufferId]] = []

    def write(
        self, pending: _Pending, job: _Job, raw: bytes | memoryview, name: str, block: Any
    ) -> None:
        """Write one block, and the end of the payload after its last."""
        if self._path is None:
            self._path = self._store.packs.new_file()
            self._file = self._path.open("wb", buffering=2**20)
            self._writer = PackWriter(self._file)
        if job.part == job.offset == 0:
            self._start = self._writer.nbytes
        if job.offset == 0:
            pending.lengths.append([])
            pending.serializers.append(name)
        pending.lengths[-1].append(len(block))
        self._writer.write_block(block)
        if pending.choice.name == "dense":  # the others were proven when they were chosen
            pending.hasher.update(raw)
        if job.last:
            self._end_payload(pending, raw)

    def _end_payload(self, pending: _Pending, raw: bytes | memoryview) -> None:
        _verify(pending, raw)
        choice, writer = pending.choice, self._writer
        nbytes = writer.nbytes - self._start
        parts = [
            [
                self._name("theta_serializers", serializer),
                part.dtype,
                part.data.size,
                _block_bytes(self._plugins, part.serializer or "planes", part.dtype),
                lengths,
            ]
            for part, serializer, lengths in zip(
                choice.update.parts, pending.serializers, pending.lengths, strict=True
            )
        ]
        record = [
            self._name("theta_update_types", choice.name),
            choice.update.params,
            choice.depth,
            nbytes + choice.base_cost,
            [list(base) for base in choice.bases],
            parts,
            [[*item.identity, item.data.size] for item in pending.members],
        ]
        payload = writer.close_payload(record, nbytes)
        self._new += [
            (payload, slot, choice.depth, item.identity)
            for slot, item in enumerate(pending.members)
        ]
        if writer.nbytes >= PACK_BYTES:
            self.finish()

    def _name(self, hook: str, name: str) -> int:
        offer = self._plugins.find(hook, name)
        return self._writer.name(name, offer.plugin.distribution)

    def finish(self) -> None:
        """End the pack, give it its name, index it."""
        if self._path is None:
            return
        pack = self._writer.finish()
        self._file.close()
        self._store.packs.adopt(self._path, pack)
        self._path = None
        self._store.index.add(pack, self._new)
        for payload, slot, depth, identity in self._new:
            self.locations[identity] = Location(pack, payload, slot, depth)
        self._new = []

    def close(self) -> None:
        """Remove what was not finished."""
        if self._path is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)


def _verify(pending: _Pending, raw: bytes | memoryview) -> None:
    members = pending.members
    if pending.choice.name != "dense":
        return
    if len(members) == 1:
        found = [pending.hasher.digest()]
    else:
        view, found, at = memoryview(raw), [], 0
        for item in members:
            found.append(blake3.blake3(view[at : at + item.data.size]).digest())
            at += item.data.size
    for item, value in zip(members, found, strict=True):
        if value != item.identity.digest:
            raise FileChangedError(
                f"The buffer {item.identity} has other bytes than a moment ago: "
                "the file was written to while it was being added",
                remedy="Run git add again once nothing writes to the file",
            )
