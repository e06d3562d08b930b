"""From packs back to bytes: a buffer as a source that decodes what is read of it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from types import MappingProxyType
from typing import NamedTuple

from git_theta.errors import (
    CheckpointError,
    MissingPackError,
    MissingPluginError,
    PackError,
    ThetaError,
)
from git_theta.joined import Joined
from git_theta.plugins import Plugins
from git_theta.recent import recent
from git_theta.serializers.interface import Serializer
from git_theta.source import BytesSource, Source, Window
from git_theta.storage.chain import Ways
from git_theta.storage.index import Location
from git_theta.storage.local import LocalStore
from git_theta.storage.pack import Pack
from git_theta.storage.payload import SHORT, BufferId, Column, Members, Payload, StoredPart
from git_theta.updates.interface import Part, Update

_UNREADABLE = (MissingPackError, MissingPluginError, PackError)

AtHand = Mapping[BufferId, Source]
"""Buffers that need not be decoded, because they can be read as they are."""
NOTHING: AtHand = MappingProxyType({})
"""No such buffers."""

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

    def __init__(self, store: LocalStore, plugins: Plugins, at_hand: AtHand = NOTHING) -> None:
        self._store, self._plugins = store, plugins
        self.at_hand = at_hand
        """What is not read from the store."""
        self.ways = Ways(store)
        """By which payloads it reads."""
        self._payloads: dict[tuple[str, int], _Opened] = {}
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
        if buffer in self.at_hand:
            return self.at_hand[buffer]
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
            with _told_of(pack, location.payload):
                self._payloads[key] = self._open_whole(pack, payload)
        pack, payload, source, starts = self._payloads[key]
        if isinstance(payload.bases, Column):
            with _told_of(pack, location.payload):
                return self._open_member(payload, source, starts, location.slot)
        if len(starts) == 2:
            return source
        start, end = starts[location.slot : location.slot + 2]
        return Window(source, start, end - start)

    def _open_whole(self, pack: Pack, payload: Payload) -> _Opened:
        if isinstance(payload.bases, Column):
            (part,) = self._open_parts(pack, payload)
            return _Opened(pack, payload, part.data, _starts(payload.parts[0].sizes))
        source, buffers = self.open_payload(pack, payload), payload.buffers
        sizes = buffers.sizes if isinstance(buffers, Members) else (source.size,)
        return _Opened(pack, payload, source, _starts(sizes))

    def open_payload(self, pack: Pack, payload: Payload) -> Source:
        """All bytes that a payload decodes to; errors as in :meth:`open`."""
        parts = self._open_parts(pack, payload)
        if isinstance(payload.bases, Column):
            starts, slots = _starts(payload.parts[0].sizes), range(len(payload.bases))
            blocks = parts[0].data
            return Joined(self._open_member(payload, blocks, starts, slot) for slot in slots)
        bases = [self.open(base) for base in payload.bases]  # by ways that do not loop
        buffers = payload.buffers
        total = sum(buffers.sizes) if isinstance(buffers, Members) else buffers[0][1]
        source = self._decode(payload, parts, bases, total)
        return Remembered(source) if len(buffers) > 1 else source

    def _open_parts(self, pack: Pack, payload: Payload) -> tuple[Part, ...]:
        parts, start = [], payload.start
        for part in payload.parts:
            name, distribution = part.serializer
            serializer = self._plugins.serializer(name, distribution=distribution)
            blocks = BundleBlocks if part.sizes else Blocks
            parts.append(Part(part.dtype, blocks(pack, start, part, serializer)))
            start += sum(part.lengths)
        if isinstance(payload.bases, Column):
            return (parts[0]._replace(data=Remembered(parts[0].data)),)
        return tuple(parts)

    def _open_member(
        self, payload: Payload, blocks: Source, starts: Sequence[int], slot: int
    ) -> Source:
        """A buffer of a bundle with bases: its block and its base are all that it needs."""
        block = blocks.window(starts[slot], starts[slot + 1] - starts[slot])
        parts = (Part(payload.parts[0].dtype, block),)
        bases = [self.open(base) for base in payload.bases_of(slot)]
        return self._decode(payload, parts, bases, payload.buffers[slot][1])

    def _decode(
        self, payload: Payload, parts: tuple[Part, ...], bases: Sequence[Source], nbytes: int
    ) -> Source:
        name, distribution = payload.update
        update_type = self._plugins.update_type(name, distribution=distribution)
        dtype = payload.buffers[0][0].dtype
        source = update_type.decode(Update(parts, payload.params), bases, dtype, nbytes)
        if source.size != nbytes:
            raise PackError(f"Expected {nbytes} bytes of {name}, found {source.size}")
        return source


class _Opened(NamedTuple):
    """A payload that can be read."""

    pack: Pack
    payload: Payload
    source: Source
    """What it decodes to; of a bundle with bases, its blocks."""
    starts: Sequence[int]
    """Where each buffer begins in it, or its block, and where the last one ends."""


@contextmanager
def _told_of(pack: Pack, number: int) -> Iterator[None]:
    """Errors that name the payload which is damaged."""
    try:
        yield
    except (PackError, CheckpointError) as fault:
        raise pack.error(f"has a damaged payload {number}: {fault}") from fault


def _starts(sizes: Sequence[int]) -> Sequence[int]:
    return list(accumulate(sizes, initial=0))


EMPTY: Source = BytesSource(b"")
"""What every empty buffer decodes to; it is never stored."""
