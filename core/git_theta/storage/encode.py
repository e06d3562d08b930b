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
from git_theta.joined import Joined
from git_theta.parallel import ordered_map
from git_theta.plugins import Plugins
from git_theta.source import Source
from git_theta.storage.decode import SHORT_BLOCK
from git_theta.storage.index import Entry, Location
from git_theta.storage.local import LocalStore
from git_theta.storage.pack import (
    BUNDLE,
    BUNDLE_BLOCK,
    BUNDLE_BUFFERS,
    BUNDLE_MEMBER,
    DIRECTORY_BYTES,
    MAX_BLOCK,
    MIN_BLOCK,
    PACK_BYTES,
    BufferId,
    PackWriter,
)
from git_theta.updates.choose import Choice, choose
from git_theta.updates.interface import Part

PREFERRED = "planes"
"""The serializer of parts that do not name one."""


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
    blocks: tuple[int, ...]
    """Bytes of a block in each part."""
    hasher: Any = field(default_factory=blake3.blake3)
    lengths: list[list[int]] = field(default_factory=list)


class _Job(NamedTuple):
    """Bytes to serialize: one long block, or all short blocks of a part."""

    pending: _Pending
    part: int
    offset: int
    nbytes: int
    last: bool
    """Whether the payload ends with it."""


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
        jobs = _jobs(_pending(store, plugins, wanted))
        for job, raw, blocks in ordered_map(lambda job: _encode(job, plugins), jobs):
            packs.write(job, raw, blocks)
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
    nbytes, dtype = 0, ""
    for item in wanted:
        size = item.data.size
        small = size < BUNDLE_MEMBER and item.base is None
        full = nbytes + size > BUNDLE or len(bundle) == BUNDLE_BUFFERS
        if bundle and (not small or item.identity.dtype != dtype or full):
            yield _bundle(plugins, bundle)
            bundle, nbytes = [], 0
        if small:
            bundle.append(item)
            nbytes += size
            dtype = item.identity.dtype
        else:
            choice = choose(store, plugins, *item)
            blocks = (_block_bytes(plugins, part) for part in choice.update.parts)
            yield _Pending([item], choice, tuple(blocks))
    if bundle:
        yield _bundle(plugins, bundle)


def _bundle(plugins: Plugins, bundle: Sequence[Wanted]) -> _Pending:
    data = Joined([item.data for item in bundle])
    update = plugins.update_type("dense").encode(data, None, bundle[0].identity.dtype)
    assert update is not None
    return _Pending(list(bundle), Choice("dense", update), (BUNDLE_BLOCK,))


def _jobs(pendings: Iterable[_Pending]) -> Iterator[_Job]:
    for pending in pendings:
        parts = pending.choice.update.parts
        for number, (part, block) in enumerate(zip(parts, pending.blocks, strict=True)):
            size = part.data.size
            step = size if block <= SHORT_BLOCK else block
            for offset in range(0, size, step):
                end = min(offset + step, size)
                last = number == len(parts) - 1 and end == size
                yield _Job(pending, number, offset, end - offset, last)


def _encode(
    job: _Job, plugins: Plugins
) -> tuple[_Job, bytes | memoryview, list[bytes | memoryview]]:
    """The job, its bytes before serializing, and the blocks after it."""
    pending, number, offset, nbytes, _ = job
    part, block = pending.choice.update.parts[number], pending.blocks[number]
    raw = part.data.read(offset, nbytes)
    serializer = plugins.serializer(part.serializer or PREFERRED)
    if block <= SHORT_BLOCK:
        blocks = serializer.encode_blocks(raw, block, part.dtype)
    else:
        blocks = [serializer.encode(raw, part.dtype)]
    view = memoryview(raw)
    for n, data in enumerate(blocks):
        plain = view[n * block : (n + 1) * block]
        if len(data) >= len(plain):  # what does not shrink is stored as it is
            blocks[n] = plain
    return job, raw, blocks


def _block_bytes(plugins: Plugins, part: Part) -> int:
    name = part.serializer or PREFERRED
    nbytes = plugins.serializer(name).block_bytes(part.dtype)
    if not MIN_BLOCK <= nbytes <= MAX_BLOCK or nbytes & (nbytes - 1):
        raise StoreError(
            f"The serializer {name} has blocks of {nbytes} bytes, expected a power of two "
            f"from {MIN_BLOCK} to {MAX_BLOCK}"
        )
    return nbytes


class _Packs:
    """The pack that is being written, and those that are done."""

    def __init__(self, store: LocalStore, plugins: Plugins) -> None:
        self.locations: dict[BufferId, Location] = {}
        self._store, self._plugins = store, plugins
        self._path: Path | None = None
        self._start = 0
        self._new: list[Entry] = []

    def write(
        self, job: _Job, raw: bytes | memoryview, blocks: Sequence[bytes | memoryview]
    ) -> None:
        """Write the blocks of a job, and the end of the payload after its last."""
        pending = job.pending
        if self._path is None:
            self._path = self._store.packs.new_file()
            self._file = self._path.open("wb", buffering=2**20)
            self._writer = PackWriter(self._file)
        if job.part == job.offset == 0:
            self._start = self._writer.nbytes
        if job.offset == 0:
            pending.lengths.append([])
        pending.lengths[-1] += map(len, blocks)
        self._writer.write(b"".join(blocks) if len(blocks) > 1 else blocks[0])
        if len(pending.members) == 1 and pending.choice.name == "dense":
            pending.hasher.update(raw)
        if job.last:
            self._end_payload(pending)

    def _end_payload(self, pending: _Pending) -> None:
        _verify(pending)
        choice, writer = pending.choice, self._writer
        nbytes = writer.nbytes - self._start
        parts = [
            [
                self._name("theta_serializers", part.serializer or PREFERRED),
                part.dtype,
                part.data.size,
                block,
                lengths,
            ]
            for part, block, lengths in zip(
                choice.update.parts, pending.blocks, pending.lengths, strict=True
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
        payload = writer.end_payload(record, nbytes)
        self._new += [
            (payload, slot, choice.depth, item.identity)
            for slot, item in enumerate(pending.members)
        ]
        if writer.nbytes >= PACK_BYTES or writer.directory_bytes >= DIRECTORY_BYTES:
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
        self._store.add(pack, self._new)
        for payload, slot, depth, identity in self._new:
            self.locations[identity] = Location(pack, payload, slot, depth)
        self._new = []

    def close(self) -> None:
        """Remove what was not finished."""
        if self._path is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)


def _verify(pending: _Pending) -> None:
    """Compare what was stored with what was digested, where no proof exists already.

    Updates other than dense proved themselves when they were chosen; short buffers are guarded by
    the file's times, which the caller compares (hashing each twice would double their cost).
    """
    if len(pending.members) > 1 or pending.choice.name != "dense":
        return
    identity = pending.members[0].identity
    if pending.hasher.digest() != identity.digest:
        raise FileChangedError(
            f"The buffer {identity} has other bytes than a moment ago: "
            "the file was written to while it was being added",
            remedy="Run git add again once nothing writes to the file",
        )
