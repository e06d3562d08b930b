"""From packs back to bytes: a buffer as a source that decodes what is read of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from git_theta.errors import MissingPackError, PackError
from git_theta.plugins import Plugins
from git_theta.serializers.interface import Serializer
from git_theta.source import BytesSource, Source
from git_theta.storage.index import Location
from git_theta.storage.local import LocalStore
from git_theta.storage.pack import MAX_DEPTH, BufferId, Pack, Payload, StoredPart
from git_theta.updates.interface import Part, Update


class Blocks(Source):
    """A serialized run of numbers; remembers the block that it decoded last."""

    def __init__(self, pack: Pack, start: int, part: StoredPart, serializer: Serializer) -> None:
        self.size = part.nbytes
        self._pack, self._part, self._serializer = pack, part, serializer
        self._starts = list(accumulate(part.lengths, initial=start))
        self._last: tuple[int, bytes | memoryview] = (-1, b"")

    def _block(self, number: int) -> bytes | memoryview:
        last, data = self._last
        if last == number:
            return data
        part = self._part
        stored = self._pack.file.read(self._starts[number], part.lengths[number])
        nbytes = min(part.block, part.nbytes - number * part.block)
        data = self._serializer.decode(stored, part.dtype, nbytes)
        self._last = (number, data)
        return data

    def _read(self, offset: int, nbytes: int) -> bytes | memoryview:
        block = self._part.block
        first, end = offset // block, offset + nbytes
        if end <= (first + 1) * block:
            at = offset - first * block
            return memoryview(self._block(first))[at : at + nbytes]
        pieces = []
        for number in range(first, -(-end // block)):
            low = max(offset - number * block, 0)
            high = min(end - number * block, block)
            pieces.append(memoryview(self._block(number))[low:high])
        return b"".join(pieces)


def open_buffer(
    store: LocalStore,
    plugins: Plugins,
    buffer: BufferId,
    locations: Sequence[Location] | None = None,
    *,
    depth: int = MAX_DEPTH,
) -> Source:
    """A buffer of a store; what is read of it is decoded then.

    The bytes are not verified: the caller compares digests, of the buffer or of the whole file.
    ``locations`` saves asking the index again.

    Raises
    ------
    MissingPackError
        When the store does not have the buffer, or a base of it.
    PackError
        When a pack is corrupt.
    """
    if locations is None:
        locations = store.find([buffer]).get(buffer, ())
    fault: Exception | None = None
    for location in locations:
        if location.depth > depth:
            continue
        try:
            return _open(store, plugins, buffer, location)
        except (MissingPackError, PackError) as error:  # another payload may do
            fault = error
    if fault:
        raise fault
    raise MissingPackError(
        f"No pack in the store {store.folder} holds the buffer {buffer}",
        remedy="Copy the missing packs from another clone's store, then run git theta fsck",
    )


def _open(store: LocalStore, plugins: Plugins, buffer: BufferId, location: Location) -> Source:
    pack = store.pack(location.pack)
    payload = pack.payload(location.payload)
    try:
        source = open_payload(store, plugins, pack, payload)
        start = sum(nbytes for _, nbytes in payload.buffers[: location.slot])
        identity, nbytes = payload.buffers[location.slot]
    except (PackError, IndexError) as fault:
        raise pack.error(f"cannot be decoded, payload {location.payload}: {fault}") from fault
    if identity != buffer:
        raise pack.error(f"has {identity} where the index says {buffer}")
    return source if start == 0 and nbytes == source.size else source.window(start, nbytes)


def open_payload(store: LocalStore, plugins: Plugins, pack: Pack, payload: Payload) -> Source:
    """All bytes that a payload decodes to; errors as in :func:`open_buffer`."""
    parts, start = [], payload.start
    for part in payload.parts:
        name, distribution = part.serializer
        serializer = plugins.serializer(name, distribution=distribution)
        parts.append(Part(part.dtype, Blocks(pack, start, part, serializer)))
        start += sum(part.lengths)
    base = None
    if payload.bases:  # bases lie strictly shallower, so payloads that met elsewhere cannot loop
        base = open_buffer(store, plugins, payload.bases[0], depth=payload.depth - 1)
    name, distribution = payload.update
    update_type = plugins.update_type(name, distribution=distribution)
    total = sum(nbytes for _, nbytes in payload.buffers)
    dtype = payload.buffers[0][0].dtype
    source = update_type.decode(Update(tuple(parts), payload.params), base, dtype, total)
    if source.size != total:
        raise PackError(f"Expected {total} bytes of {name}, found {source.size}")
    return source


EMPTY: Source = BytesSource(b"")
"""What every empty buffer decodes to; it is never stored."""
