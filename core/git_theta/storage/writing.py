"""From serialized blocks to packs: what is written, in order, and checked against its digest."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import blake3

from git_theta.errors import FileChangedError
from git_theta.plugins import Plugins
from git_theta.storage.index import Entry, Location
from git_theta.storage.local import LocalStore
from git_theta.storage.pack import DIRECTORY_BYTES, PACK_BYTES, PackWriter
from git_theta.storage.payload import (
    BufferId,
    print_column,
)
from git_theta.updates.choose import PREFERRED, Choice


@dataclass(slots=True)
class Pending:
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


class Job(NamedTuple):
    """Bytes to serialize: one long block, or all blocks of a bundle."""

    pending: Pending
    part: int
    offset: int
    nbytes: int
    last: bool
    """Whether the payload ends with it."""


class Encoded(NamedTuple):
    """What became of a job."""

    job: Job
    raw: bytes | memoryview
    """Its bytes before serializing."""
    data: bytes | memoryview
    """Its blocks after it, one after another."""
    lengths: list[int]
    """Stored bytes of each block."""


class Packs:
    """The pack that is being written, and those that are done."""

    def __init__(self, store: LocalStore, plugins: Plugins) -> None:
        self.locations: dict[BufferId, Location] = {}
        self._store, self._plugins = store, plugins
        self._path: Path | None = None
        self._start = 0
        self._new: list[Entry] = []

    def write(self, encoded: Encoded) -> None:
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

    def _end_payload(self, pending: Pending, raw: bytes | memoryview) -> None:
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


def _row(pending: Pending) -> list[Any]:
    """The buffers of a payload as its directory has them."""
    (dtype, digest), size = pending.buffers[0]
    if not pending.bundle:
        return [dtype, digest, size]
    digests = b"".join([digest for (_, digest), _ in pending.buffers])
    return [dtype, digests, print_column([size for _, size in pending.buffers])]


def _verify(pending: Pending, raw: bytes | memoryview) -> None:
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
