"""Buffers of the store that a new one may be told in terms of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Lock
from typing import NamedTuple

from git_theta.digests import digest
from git_theta.dtypes import BITS, count_bytes
from git_theta.errors import MissingPackError, MissingPluginError, PackError
from git_theta.plugins import Plugins
from git_theta.source import Source
from git_theta.storage.chain import Spot
from git_theta.storage.decode import Reader
from git_theta.storage.folder import PackFolder
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import MAX_DEPTH, BufferId
from git_theta.updates.elementwise import convertible
from git_theta.updates.hold import hold
from git_theta.updates.interface import Numbers
from git_theta.updates.sampling import WINDOW_BYTES, WINDOWS

SAMPLE = WINDOWS * WINDOW_BYTES
"""Bytes of the longest read that is no more than a sample."""
WHOLE = 2**22
"""Bytes of the longest base of which all is decoded for a sample: that lies in all its blocks."""
MAX_GROUNDS = 12
"""Most buffers that one is compared with."""
MAX_OTHERS = 2
"""Most of them that have another dtype."""

_UNREADABLE = (MissingPackError, MissingPluginError, PackError)


class Candidate(NamedTuple):
    """A buffer that another may resemble."""

    buffer: BufferId
    shape: tuple[int, ...] = ()
    """Elements by dimension of the group that it was; (): not known."""
    origin: int | None = None
    """Number, in the new file's lineage, of the version that has it; None: of none."""


class Bases(NamedTuple):
    """What a buffer may resemble, the likeliest first."""

    near: Sequence[Candidate] = ()
    """What it was in the versions that git has at hand."""
    far: Callable[[], Iterable[Candidate]] = tuple
    """Where those do not help: others."""


class Base(Source):
    """A base: samples are decoded where they are taken, all of it is once, and verified then.

    What stood on damaged bytes would be lost with them.
    """

    def __init__(self, buffer: BufferId, data: Source, folder: PackFolder) -> None:
        self.size = data.size
        self._buffer, self._data, self._folder = buffer, data, folder
        self._held: Source | None = None
        self._lock = Lock()

    def held(self) -> Source:
        """All of it, in memory or in a file.

        Raises
        ------
        PackError
            When it is damaged.
        """
        with self._lock:
            if self._held is None:
                found = hold(self._data, self._folder)
                if digest(found) != self._buffer.digest:
                    raise PackError(f"{self._buffer} has another digest")
                self._held = found
            return self._held

    def _read(self, offset: int, nbytes: int) -> bytes | memoryview:
        if nbytes > SAMPLE or self.size <= WHOLE:
            return self.held().read(offset, nbytes)
        return (self._held or self._data).read(offset, nbytes)


class Ground(NamedTuple):
    """A buffer that can be stood on."""

    buffer: BufferId
    base: Base
    numbers: Numbers
    """Those of the base."""
    payloads: dict[Spot, int]
    """Stored bytes that are read of every payload to decode it."""
    origin: int | None
    """That of the candidate."""

    @property
    def cost(self) -> int:
        """Stored bytes that are read to decode it."""
        return sum(self.payloads.values())


class Grounds:
    """Finds what one buffer can stand on; what was found, and decoded, once is not looked up again.

    Parameters
    ----------
    store, plugins
        What decodes the buffers to stand on.
    new, nbytes
        The buffer that shall stand on them, and its length.
    """

    def __init__(self, store: LocalStore, plugins: Plugins, new: BufferId, nbytes: int) -> None:
        self._reader, self._folder = Reader(store, plugins), store.packs
        self._new, self._nbytes = new, nbytes
        self._found: dict[BufferId, tuple[Ground, Sequence[BufferId]] | None] = {}

    def find(self, candidates: Iterable[Candidate]) -> Iterator[Ground]:
        """Those of the candidates that can be decoded, and what stands below the deep ones."""
        waiting = list(candidates)
        seen, others = {self._new}, 0
        while waiting:
            candidate = waiting.pop(0)
            buffer = candidate.buffer
            other = buffer.dtype != self._new.dtype
            if buffer in seen or (other and not convertible(buffer.dtype, self._new.dtype)):
                continue
            others += other
            if other and others > MAX_OTHERS:
                continue
            seen.add(buffer)
            if buffer not in self._found:
                self._found[buffer] = self._look_up(candidate)
            found = self._found[buffer]
            if found is None:
                continue
            ground, below = found
            if len(ground.payloads) >= MAX_DEPTH or ground.cost > self._nbytes * 5 // 4:
                waiting[:0] = [Candidate(base, candidate.shape) for base in below]
            yield ground._replace(origin=candidate.origin)

    def _look_up(self, candidate: Candidate) -> tuple[Ground, Sequence[BufferId]] | None:
        """A candidate as it can be decoded, and what it stands on itself; None: it cannot be."""
        buffer, reader = candidate.buffer, self._reader
        try:
            steps = reader.ways.chain(reader.ways.find([buffer])[buffer])
            data = reader.open(buffer)
        except (KeyError, *_UNREADABLE):
            return None
        base = Base(buffer, data, self._folder)
        shape = _shape(candidate.shape, data, buffer.dtype)
        costs = {spot: step.nbytes for spot, step in steps.items()}
        numbers = Numbers(base, buffer.dtype, shape)
        top = next(iter(steps.values()))
        return Ground(buffer, base, numbers, costs, candidate.origin), top.bases


def _shape(shape: tuple[int, ...], data: Source, dtype: str) -> tuple[int, ...]:
    if shape and count_bytes(dtype, shape) == data.size:
        return shape
    return (data.size * 8 // BITS[dtype],)
