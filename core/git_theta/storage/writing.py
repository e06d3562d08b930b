"""From serialized blocks to packs, in the order in which they come."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from git_theta.plugins import Plugins
from git_theta.storage.index import Entry, Location
from git_theta.storage.local import LocalStore
from git_theta.storage.pack import DIRECTORY_BYTES, PACK_BYTES, PackWriter
from git_theta.storage.payload import BufferId, print_column


class StoredPart(NamedTuple):
    """A part of an update as its payload has it."""

    dtype: str
    serializer: str
    """Name of the serializer."""
    nbytes: int
    """Bytes before serializing."""
    block: int
    """Bytes of each block of it but the last."""


class Head(NamedTuple):
    """What a payload's row says of it."""

    buffers: tuple[tuple[BufferId, int], ...]
    """Each with its length in bytes."""
    name: str
    """Name of the update type."""
    params: bytes
    bases: tuple[BufferId, ...]
    """What it stands on; in a bundle, what each of the buffers does, or none."""
    depth: int
    """Payloads to read, this one included."""
    base_cost: int
    """Stored bytes that are read to decode the bases."""
    parts: tuple[StoredPart, ...]
    bundle: tuple[int, ...] = ()
    """Bytes of each block of a bundle."""


class Encoded(NamedTuple):
    """Serialized blocks of a payload: one long, or all of a bundle."""

    head: Head | None
    """Where the payload begins."""
    part: int
    """Number of the part that they belong to."""
    data: bytes | memoryview
    """The blocks, one after another."""
    lengths: list[int]
    """Stored bytes of each."""
    nbytes: int
    """Their bytes before serializing."""
    last: bool
    """Whether the payload ends with them."""


class Packs:
    """The pack that is being written, and those that are done."""

    def __init__(self, store: LocalStore, plugins: Plugins) -> None:
        self.locations: dict[BufferId, Location] = {}
        self._store, self._plugins = store, plugins
        self._path: Path | None = None
        self._start = 0
        self._new: list[Entry] = []

    def write(self, encoded: Encoded) -> None:
        """Write blocks, and the end of the payload after its last."""
        if self._path is None:
            self._path = self._store.packs.new_file()
            self._file = self._path.open("wb", buffering=2**20)
            self._writer = PackWriter(self._file)
        if encoded.head is not None:
            self._head, self._start = encoded.head, self._writer.nbytes
            self._lengths: list[list[int]] = [[] for _ in self._head.parts]
        self._lengths[encoded.part] += encoded.lengths
        self._writer.write(encoded.data)
        if encoded.last:
            self._end_payload(self._head)

    def _end_payload(self, head: Head) -> None:
        writer = self._writer
        nbytes = writer.nbytes - self._start
        parts = [
            [
                self._name("theta_serializers", part.serializer),
                part.dtype,
                part.nbytes,
                print_column(head.bundle) if head.bundle else part.block,
                print_column(lengths) if head.bundle else lengths,
            ]
            for part, lengths in zip(head.parts, self._lengths, strict=True)
        ]
        record = [
            self._name("theta_update_types", head.name),
            head.params,
            head.depth,
            nbytes + head.base_cost,
            _bases(head),
            parts,
            [_row(head)],
        ]
        payload = writer.end_payload(record, nbytes)
        self._new += [
            (payload, slot, head.depth, identity) for slot, (identity, _) in enumerate(head.buffers)
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
        self._store.packs.adopt(self._path, pack, flush=self._store.flushes())
        self._path = None
        self._store.add(pack, self._new)
        for payload, slot, depth, identity in self._new:
            self.locations[identity] = Location(pack, payload, slot, depth)
        self._new = []

    def close(self) -> None:
        """Remove what was not finished."""
        if self._path is not None:
            with suppress(OSError):  # a full disk: what it still holds is of no use
                self._file.close()
            self._path.unlink(missing_ok=True)


def _bases(head: Head) -> list[Any]:
    """What a payload stands on as its directory has it."""
    if not head.bundle or not head.bases:
        return [list(base) for base in head.bases]
    return [[head.bases[0].dtype, b"".join([digest for _, digest in head.bases])]]


def _row(head: Head) -> list[Any]:
    """The buffers of a payload as its directory has them."""
    (dtype, digest), size = head.buffers[0]
    if not head.bundle:
        return [dtype, digest, size]
    digests = b"".join([digest for (_, digest), _ in head.buffers])
    return [dtype, digests, print_column([size for _, size in head.buffers])]
