"""From packs back to bytes: a buffer as a source that decodes what is read of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import accumulate

from git_theta.errors import MissingPackError, PackError
from git_theta.plugins import Plugins
from git_theta.serializers.interface import Serializer
from git_theta.source import BytesSource, Source, Window
from git_theta.storage.index import Location
from git_theta.storage.local import LocalStore
from git_theta.storage.pack import MAX_DEPTH, BufferId, Pack, Payload, StoredPart
from git_theta.updates.interface import Part, Update

SHORT_BLOCK = 2**14
"""Blocks up to this length are decoded many at a time."""


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
        data = self._pack.file.read(self._starts[number], part.lengths[number])
        nbytes = min(part.block, part.nbytes - number * part.block)
        if len(data) != nbytes:  # a block that did not shrink is stored as it is
            data = self._serializer.decode(data, part.dtype, nbytes)
        self._last = (number, data)
        return data

    def _read(self, offset: int, nbytes: int) -> bytes | memoryview:
        block = self._part.block
        first, end = offset // block, offset + nbytes
        at = offset - first * block
        if end <= (first + 1) * block:
            return memoryview(self._block(first))[at : at + nbytes]
        last = -(-end // block)
        if block <= SHORT_BLOCK:
            return memoryview(self._blocks(first, last))[at : at + nbytes]
        pieces = []
        for number in range(first, last):
            low = max(offset - number * block, 0)
            high = min(end - number * block, block)
            pieces.append(memoryview(self._block(number))[low:high])
        return b"".join(pieces)

    def _blocks(self, first: int, last: int) -> bytes | memoryview:
        part, starts = self._part, self._starts
        begin = starts[first]
        stored = memoryview(self._pack.file.read(begin, starts[last] - begin))
        blocks = [stored[starts[n] - begin : starts[n + 1] - begin] for n in range(first, last)]
        nbytes = min(last * part.block, part.nbytes) - first * part.block
        return self._serializer.decode_blocks(blocks, part.block, nbytes, part.dtype)


REMEMBERED = 64
"""Payloads of many buffers that are kept decoded."""
MAX_REMEMBERED = 2**18
"""Bytes of the longest of them."""

_remembered: deque[Remembered] = deque()


class Remembered(Source):
    """A payload of many buffers, decoded at once and kept while it is among the last ones read."""

    def __init__(self, source: Source) -> None:
        self.size = source.size
        self._source = source
        self._data: bytes | memoryview | None = None

    def _read(self, offset: int, nbytes: int) -> bytes | memoryview:
        data = self._data
        if data is None:
            data = self._data = self._source.read(0, self.size)
            _remembered.append(self)
            if len(_remembered) > REMEMBERED:
                _remembered.popleft()._data = None
        return memoryview(data)[offset : offset + nbytes]


class Reader:
    """Opens buffers of a store; payloads are looked up once."""

    def __init__(self, store: LocalStore, plugins: Plugins) -> None:
        self._store, self._plugins = store, plugins
        self._payloads: dict[tuple[str, int], tuple[Payload, Source, list[int]]] = {}

    def open(
        self,
        buffer: BufferId,
        locations: Sequence[Location] | None = None,
        *,
        depth: int = MAX_DEPTH,
    ) -> Source:
        """A buffer of the store; what is read of it is decoded then.

        The bytes are not verified: the caller compares digests, of the buffer or of the whole
        file. ``locations`` saves asking the index again.

        Raises
        ------
        MissingPackError
            When the store does not have the buffer, or a base of it.
        PackError
            When a pack is corrupt.
        """
        if locations is None:
            locations = self._store.find([buffer]).get(buffer, ())
        fault: Exception | None = None
        for location in locations:
            if location.depth > depth:
                continue
            try:
                return self._open(buffer, location)
            except (MissingPackError, PackError) as error:  # another payload may do
                fault = error
        if fault:
            raise fault
        raise MissingPackError(
            f"No pack in the store {self._store.folder} holds the buffer {buffer}",
            remedy="Copy the missing packs from another clone's store, then run git theta fsck",
        )

    def _open(self, buffer: BufferId, location: Location) -> Source:
        key = (location.pack, location.payload)
        if key not in self._payloads:
            pack = self._store.pack(location.pack)
            payload = pack.payload(location.payload)
            try:
                source = self.open_payload(pack, payload)
            except PackError as fault:
                raise pack.error(f"has a damaged payload {location.payload}: {fault}") from fault
            starts = list(accumulate((nbytes for _, nbytes in payload.buffers), initial=0))
            self._payloads[key] = payload, source, starts
        payload, source, starts = self._payloads[key]
        slot = location.slot
        if slot >= len(payload.buffers) or payload.buffers[slot][0] != buffer:
            raise PackError(f"The index is wrong about {buffer}", remedy="Run git theta fsck")
        return (
            source if len(starts) == 2 else Window(source, starts[slot], payload.buffers[slot][1])
        )

    def open_payload(self, pack: Pack, payload: Payload) -> Source:
        """All bytes that a payload decodes to; errors as in :meth:`open`."""
        plugins, parts, start = self._plugins, [], payload.start
        for part in payload.parts:
            name, distribution = part.serializer
            serializer = plugins.serializer(name, distribution=distribution)
            parts.append(Part(part.dtype, Blocks(pack, start, part, serializer)))
            start += sum(part.lengths)
        base = None
        if payload.bases:  # they lie strictly shallower, so payloads that met cannot loop
            base = self.open(payload.bases[0], depth=payload.depth - 1)
        name, distribution = payload.update
        update_type = plugins.update_type(name, distribution=distribution)
        total = sum(nbytes for _, nbytes in payload.buffers)
        dtype = payload.buffers[0][0].dtype
        source = update_type.decode(Update(tuple(parts), payload.params), base, dtype, total)
        if source.size != total:
            raise PackError(f"Expected {total} bytes of {name}, found {source.size}")
        small = len(payload.buffers) > 1 and total <= MAX_REMEMBERED
        return Remembered(source) if small else source


EMPTY: Source = BytesSource(b"")
"""What every empty buffer decodes to; it is never stored."""
