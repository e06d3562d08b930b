"""From packs back to bytes: a buffer as a source that decodes what is read of it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from itertools import accumulate

from git_theta.errors import (
    CheckpointError,
    MissingPackError,
    MissingPluginError,
    PackError,
    ThetaError,
)
from git_theta.plugins import Plugins
from git_theta.recent import recent
from git_theta.serializers.interface import Serializer
from git_theta.source import BytesSource, Source, Window
from git_theta.storage.chain import Ways
from git_theta.storage.index import Location
from git_theta.storage.local import LocalStore
from git_theta.storage.pack import Pack
from git_theta.storage.payload import SHORT, BufferId, Members, Payload, StoredPart
from git_theta.updates.interface import Part, Update

_UNREADABLE = (MissingPackError, MissingPluginError, PackError)

MAX_TRIES = 16
"""Payloads of one buffer that are tried before it is given up."""


class Blocks(Source):
    """A serialized run of numbers; what is read in parts is kept decoded for a while."""

    def __init__(self, pack: Pack, start: int, part: StoredPart, serializer: Serializer) -> None:
        self.size = part.nbytes
        self._pack, self._part, self._serializer = pack, part, serializer
        self._starts = list(accumulate(part.lengths, initial=start))

    def _block(self, number: int, *, whole: bool) -> bytes | memoryview:
        if whole:  # nothing is left to be read of it
            return self._decode(number)
        kept = recent.get(self, number)
        if kept is not None:
            return kept
        data = self._decode(number)
        recent.put(self, number, data)
        return data

    def _decode(self, number: int) -> bytes | memoryview:
        part = self._part
        data = self._pack.file.read(self._starts[number], part.lengths[number])
        nbytes = min(part.block, part.nbytes - number * part.block)
        if len(data) != nbytes:  # a block that did not shrink is stored as it is
            data = self._serializer.decode(data, part.dtype, nbytes)
        return data

    def _read(self, offset: int, nbytes: int) -> bytes | memoryview:
        block = self._part.block
        first, end = offset // block, offset + nbytes
        at = offset - first * block
        if end <= (first + 1) * block:
            whole = nbytes == min(block, self.size - first * block)
            return memoryview(self._block(first, whole=whole))[at : at + nbytes]
        pieces = []
        for number in range(first, -(-end // block)):
            low = max(offset - number * block, 0)
            high = min(end - number * block, block)
            whole = high - low == min(block, self.size - number * block)
            pieces.append(memoryview(self._block(number, whole=whole))[low:high])
        return b"".join(pieces)


class BundleBlocks(Source):
    """The short blocks of a bundle, decoded as many at a time as are read."""

    def __init__(self, pack: Pack, start: int, part: StoredPart, serializer: Serializer) -> None:
        self.size = part.nbytes
        self._pack, self._part, self._serializer = pack, part, serializer
        self._starts = list(accumulate(part.lengths, initial=start))
        self._offsets = list(accumulate(part.sizes, initial=0))

    def _read(self, offset: int, nbytes: int) -> bytes | memoryview:
        part, starts = self._part, self._starts
        first = bisect_right(self._offsets, offset) - 1
        last = bisect_left(self._offsets, offset + nbytes)
        stored = self._pack.file.read(starts[first], starts[last] - starts[first])
        lengths, sizes = part.lengths[first:last], part.sizes[first:last]
        data = self._serializer.decode_blocks(stored, lengths, sizes, part.dtype)
        at = offset - self._offsets[first]
        return memoryview(data)[at : at + nbytes]


REMEMBERED = 32
"""Bundles that are kept decoded."""

_remembered: deque[Remembered] = deque()


class Remembered(Source):
    """A bundle: the second read decodes all, kept while it is among the last.

    The first read of one buffer takes no more than it needs, so that it is cheap by itself.
    """

    def __init__(self, source: Source) -> None:
        self.size = source.size
        self._source = source
        self._data: bytes | memoryview | None = None
        self._used = False

    def _read(self, offset: int, nbytes: int) -> bytes | memoryview:
        if not self._used and nbytes < SHORT:
            self._used = True
            return self._source.read(offset, nbytes)
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
        self.ways = Ways(store)
        """By which payloads it reads."""
        self._payloads: dict[tuple[str, int], tuple[Payload, Source, list[int]]] = {}
        self._damaged: dict[BufferId, ThetaError] = {}

    def open(self, buffer: BufferId, locations: Sequence[Location] | None = None) -> Source:
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
        if buffer in self._damaged:  # bases that lead nowhere on many ways are tried once
            raise self._damaged[buffer]
        located = None if locations is None else {buffer: locations}
        fault: ThetaError | None = None
        for _ in range(MAX_TRIES):
            location = self.ways.find([buffer], located).get(buffer)
            if location is None:
                fault = fault or self.ways.fault(buffer)
                break
            try:
                return self._open(buffer, location)
            except _UNREADABLE as error:  # another payload may do
                fault = error
                self.ways.avoid(location)
        assert fault
        self._damaged[buffer] = fault
        raise fault

    def _open(self, buffer: BufferId, location: Location) -> Source:
        key = (location.pack, location.payload)
        if key not in self._payloads:
            pack = self._store.pack(location.pack)
            payload = pack.payload(location.payload)
            source = self._open_checked(pack, payload, location.payload)
            buffers = payload.buffers
            sizes = buffers.sizes if isinstance(buffers, Members) else (buffers[0][1],)
            self._payloads[key] = payload, source, list(accumulate(sizes, initial=0))
        _, source, starts = self._payloads[key]
        if len(starts) == 2:
            return source
        start, end = starts[location.slot : location.slot + 2]
        return Window(source, start, end - start)

    def _open_checked(self, pack: Pack, payload: Payload, number: int) -> Source:
        try:
            return self.open_payload(pack, payload)
        except (PackError, CheckpointError) as fault:
            raise pack.error(f"has a damaged payload {number}: {fault}") from fault

    def open_payload(self, pack: Pack, payload: Payload) -> Source:
        """All bytes that a payload decodes to; errors as in :meth:`open`."""
        plugins, parts, start = self._plugins, [], payload.start
        for part in payload.parts:
            name, distribution = part.serializer
            serializer = plugins.serializer(name, distribution=distribution)
            blocks = BundleBlocks if part.sizes else Blocks
            parts.append(Part(part.dtype, blocks(pack, start, part, serializer)))
            start += sum(part.lengths)
        bases = [self.open(base) for base in payload.bases]  # by ways that do not loop
        name, distribution = payload.update
        update_type = plugins.update_type(name, distribution=distribution)
        buffers = payload.buffers
        total = sum(buffers.sizes) if isinstance(buffers, Members) else buffers[0][1]
        dtype = buffers[0][0].dtype
        source = update_type.decode(Update(tuple(parts), payload.params), bases, dtype, total)
        if source.size != total:
            raise PackError(f"Expected {total} bytes of {name}, found {source.size}")
        return Remembered(source) if len(buffers) > 1 else source


EMPTY: Source = BytesSource(b"")
"""What every empty buffer decodes to; it is never stored."""
