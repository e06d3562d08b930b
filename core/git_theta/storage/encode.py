"""From buffers to packs: every buffer that the store lacks becomes a payload.

Blocks are serialized on all cores and written in order, so the same buffers give the same packs
however many threads work. What is read is hashed again: a file that changes while it is added is
noticed before anything refers to the pack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import blake3
import numpy as np
from numpy.typing import NDArray

from git_theta.dtypes import BITS
from git_theta.errors import FileChangedError, PluginError, StoreError
from git_theta.parallel import ordered_map
from git_theta.plugins import Plugins
from git_theta.serializers.interface import Serializer
from git_theta.source import Source
from git_theta.storage.index import Entry, Location
from git_theta.storage.local import LocalStore
from git_theta.storage.pack import DIRECTORY_BYTES, PACK_BYTES, PackWriter
from git_theta.storage.payload import (
    MAX_BLOCK,
    MIN_BLOCK,
    BufferId,
    print_column,
)
from git_theta.updates.choose import CHOSEN, PREFERRED, Choice, Form, choose
from git_theta.updates.grounds import Bases
from git_theta.updates.hold import HELD, MAX_HELD
from git_theta.updates.interface import Numbers, Part

CHOOSERS = 2
"""Threads that choose updates: many short steps of Python, so more would wait for each other."""
AHEAD = 16
"""Buffers that are looked at while a longer one before them is."""


class Wanted(NamedTuple):
    """What shall become one payload: a buffer, or several short ones of one dtype."""

    buffers: tuple[tuple[BufferId, int], ...]
    """Each with its length in bytes; none is empty."""
    data: Source
    """Their bytes one after another, little-endian."""
    bases: Bases = Bases()
    """What the only one may resemble."""
    shape: tuple[int, ...] | None = None
    """Elements by dimension of the group that it is; None: it is not all of one."""
    blocks: tuple[int, ...] = ()
    """Bytes of each block of a bundle; every buffer lies in one of them."""
    checked: bool = False
    """Whether ``data`` itself compares what it gives with what was digested."""
    form: Form = CHOSEN
    """How the only one shall be stored, where a user said so."""


@dataclass(slots=True)
class _Pending:
    """A payload that is being written."""

    buffers: tuple[tuple[BufferId, int], ...]
    choice: Choice
    blocks: tuple[int, ...]
    """Bytes of a block in each part; none for a bundle."""
    bundle: tuple[int, ...] = ()
    """Bytes of each block of a bundle."""
    checked: bool = False
    """Whether the bytes are known to be those that were digested."""
    hasher: Any = field(default_factory=blake3.blake3)
    lengths: list[list[int]] = field(default_factory=list)


class _Job(NamedTuple):
    """Bytes to serialize: one long block, or all blocks of a bundle."""

    pending: _Pending
    part: int
    offset: int
    nbytes: int
    last: bool
    """Whether the payload ends with it."""


class _Encoded(NamedTuple):
    """What became of a job."""

    job: _Job
    raw: bytes | memoryview
    """Its bytes before serializing."""
    data: bytes | memoryview
    """Its blocks after it, one after another."""
    lengths: list[int]
    """Stored bytes of each block."""


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
        for encoded in ordered_map(lambda job: _encode(job, plugins), jobs):
            packs.write(encoded)
            advance(len(encoded.raw))
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
    """How each is stored: chosen on all cores, and in order."""

    def decide(one: Wanted) -> _Pending:
        if one.blocks:
            dense = plugins.update_type("dense").encode(_numbers_of(one), ())
            assert dense is not None
            whole = (one.data.size,)
            return _Pending(one.buffers, Choice("dense", dense), whole, one.blocks, one.checked)
        buffer = one.buffers[0][0]
        choice = choose(store, plugins, buffer, _numbers_of(one), one.bases, one.form)
        blocks = (_block_bytes(plugins, part) for part in choice.update.parts)
        return _Pending(one.buffers, choice, tuple(blocks))

    return ordered_map(decide, wanted, weigh=_weight, limit=MAX_HELD, ahead=AHEAD, threads=CHOOSERS)


def _numbers_of(wanted: Wanted) -> Numbers:
    data, dtype = wanted.data, wanted.buffers[0][0].dtype
    return Numbers(data, dtype, wanted.shape or (data.size * 8 // BITS[dtype],))


def _weight(wanted: Wanted) -> int:
    """Bytes that choosing an update holds: a base, an update, and what is computed of them."""
    return 0 if wanted.bases == Bases() else 3 * min(wanted.data.size, HELD)


def _jobs(pendings: Iterable[_Pending]) -> Iterator[_Job]:
    for pending in pendings:
        parts = pending.choice.update.parts
        if not parts:
            raise PluginError(f"The update type {pending.choice.name} gave an update without parts")
        for number, (part, block) in enumerate(zip(parts, pending.blocks, strict=True)):
            size = part.data.size
            for offset in range(0, size, block) if size else (0,):
                end = min(offset + block, size)
                last = number == len(parts) - 1 and end == size
                yield _Job(pending, number, offset, end - offset, last)


def _encode(job: _Job, plugins: Plugins) -> _Encoded:
    """Serialize a job's bytes, and decode them again: what cannot be read back is not kept."""
    pending, number, offset, nbytes, _ = job
    part = pending.choice.update.parts[number]
    raw = part.data.read(offset, nbytes)
    serializer = plugins.serializer(part.serializer or PREFERRED)
    if not nbytes:
        return _Encoded(job, raw, b"", [])
    if pending.bundle:
        data, lengths = serializer.encode_blocks(raw, pending.bundle, part.dtype)
        again = serializer.decode_blocks(data, lengths, pending.bundle, part.dtype)
        if not np.array_equal(_numbers(again), _numbers(raw)):
            raise _unreadable(serializer)
        return _Encoded(job, raw, data, lengths)
    block_data = serializer.encode(raw, part.dtype)
    if len(block_data) >= nbytes:  # what does not shrink is stored as it is
        return _Encoded(job, raw, raw, [nbytes])
    again = serializer.decode(block_data, part.dtype, nbytes)
    if not np.array_equal(_numbers(again), _numbers(raw)):
        raise _unreadable(serializer)
    return _Encoded(job, raw, block_data, [len(block_data)])


def _unreadable(serializer: Serializer) -> PluginError:
    return PluginError(
        f"The serializer {serializer.name} does not give back what it was given",
        remedy="Run git add again; if that fails too, git theta plugins tells who offers it",
    )


def _numbers(data: bytes | memoryview) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)


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

    def write(self, encoded: _Encoded) -> None:
        """Write the blocks of a job, and the end of the payload after its last."""
        job, raw, data, lengths = encoded
        pending = job.pending
        if self._path is None:
            self._path = self._store.packs.new_file()
            self._file = self._path.open("wb", buffering=2**20)
            self._writer = PackWriter(self._file)
        if job.part == job.offset == 0:
            self._start = self._writer.nbytes
        if job.offset == 0:
            pending.lengths.append([])
        pending.lengths[-1] += lengths
        self._writer.write(data)
        if not pending.bundle and pending.choice.name == "dense":
            pending.hasher.update(raw)
        if job.last:
            self._end_payload(pending, raw)

    def _end_payload(self, pending: _Pending, raw: bytes | memoryview) -> None:
        _verify(pending, raw)
        choice, writer = pending.choice, self._writer
        nbytes = writer.nbytes - self._start
        parts = [
            [
                self._name("theta_serializers", part.serializer or PREFERRED),
                part.dtype,
                part.data.size,
                print_column(pending.bundle) if pending.bundle else block,
                print_column(lengths) if pending.bundle else lengths,
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
            [_row(pending)],
        ]
        payload = writer.end_payload(record, nbytes)
        self._new += [
            (payload, slot, choice.depth, identity)
            for slot, (identity, _) in enumerate(pending.buffers)
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


def _row(pending: _Pending) -> list[Any]:
    """The buffers of a payload as its directory has them."""
    (dtype, digest), size = pending.buffers[0]
    if not pending.bundle:
        return [dtype, digest, size]
    digests = b"".join([digest for (_, digest), _ in pending.buffers])
    return [dtype, digests, print_column([size for _, size in pending.buffers])]


def _verify(pending: _Pending, raw: bytes | memoryview) -> None:
    """Compare what was stored with what was digested; ``raw`` are the bytes of the last job.

    Updates other than dense proved themselves when they were chosen.
    """
    if pending.choice.name != "dense" or pending.checked:
        return
    if not pending.bundle:
        found = [pending.hasher.digest()]
    else:
        view, at, found = memoryview(raw), 0, []
        for _, nbytes in pending.buffers:
            found.append(blake3.blake3(view[at : at + nbytes]).digest())
            at += nbytes
    for (identity, _), value in zip(pending.buffers, found, strict=True):
        if value != identity.digest:
            raise FileChangedError(
                f"The buffer {identity} has other bytes than a moment ago: "
                "the file was written to while it was being added",
                remedy="Run git add again once nothing writes to the file",
            )
