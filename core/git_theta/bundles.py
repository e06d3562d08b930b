"""Gathers short runs of a file, so that many of them are stored as one payload.

A checkpoint may have 50,000 groups of a few numbers; each by itself would cost more time to
describe than to compress.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from git_theta.digests import run_source
from git_theta.joined import Joined
from git_theta.source import Source
from git_theta.storage.encode import Wanted
from git_theta.storage.payload import BUNDLE, BUNDLE_BLOCKS, BUNDLE_BUFFERS, BufferId
from git_theta.table import Run
from git_theta.views import swapped

_LONGEST = BUNDLE_BLOCKS[-1][0]


def gather(file: Source, runs: Iterable[tuple[BufferId, Run]]) -> Iterator[Wanted]:
    """What to store for the runs of a file, in their order, short ones of a kind together."""
    bundle = _Bundle(file, ("", 0, False))
    shortest = longest = block = 0
    for identity, run in runs:
        dtype, start, nbytes, big_endian = run
        if nbytes >= _LONGEST:
            yield from bundle.wanted()
            bundle = _Bundle(file, ("", 0, False))
            yield Wanted(((identity, nbytes),), run_source(file, run))
            continue
        if not shortest <= nbytes < longest:  # of another class of lengths than the last one
            shortest, longest, block = _class_of(nbytes)
        kind = (dtype, block, big_endian)
        full = bundle.nbytes + nbytes > BUNDLE or len(bundle.members) == BUNDLE_BUFFERS
        if full or kind != bundle.kind:
            yield from bundle.wanted()
            bundle = _Bundle(file, kind)
        bundle.members.append((identity, nbytes))
        bundle.nbytes += nbytes
        if start == bundle.end:
            bundle.end += nbytes
        else:
            bundle.jump(start, nbytes)
    yield from bundle.wanted()


def _class_of(nbytes: int) -> tuple[int, int, int]:
    """The lengths from which and below which buffers share payloads, and the block of these."""
    shortest = 0
    for longest, block in BUNDLE_BLOCKS:
        if nbytes < longest:
            return shortest, longest, block
        shortest = longest
    raise ValueError(nbytes)


class _Bundle:
    """Runs that are being gathered; those that lie side by side in the file are read at once."""

    def __init__(self, file: Source, kind: tuple[str, int, bool]) -> None:
        self.kind = kind
        self.members: list[tuple[BufferId, int]] = []
        self.nbytes = 0
        self.end = -1
        self._start = -1
        self._file = file
        self._pieces: list[Source] = []

    def jump(self, start: int, nbytes: int) -> None:
        """Go on with a run that does not begin where the last one ended."""
        if self._start >= 0:
            self._pieces.append(self._file.window(self._start, self.end - self._start))
        self._start, self.end = start, start + nbytes

    def wanted(self) -> Iterator[Wanted]:
        """All of it as one payload; nothing if nothing was gathered."""
        if self.members:
            self.jump(-1, 0)
            dtype, block, big_endian = self.kind
            data: Source = Joined(self._pieces)
            data = swapped(data, dtype) if big_endian else data
            yield Wanted(tuple(self.members), data, block=block)
