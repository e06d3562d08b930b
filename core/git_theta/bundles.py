"""Gathers short runs of a file, so that many of them are stored as one payload, a bundle.

A checkpoint may have 50,000 groups of a few numbers; each by itself would cost more time to
describe than to compress. A bundle's blocks hold whole buffers, so that one of them is read by
itself from one block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from git_theta.digested import Digested
from git_theta.digests import run_source
from git_theta.joined import Joined
from git_theta.source import Source
from git_theta.storage.encode import Wanted
from git_theta.storage.payload import BUNDLE, BUNDLE_BUFFERS, SHORT, BufferId, longest_block
from git_theta.table import Run
from git_theta.views import swapped


def gather(
    file: Source, digested: Digested, runs: Iterable[tuple[BufferId, Run]]
) -> Iterator[Wanted]:
    """What to store for the runs of a file, in their order, short ones of a kind together.

    ``digested`` gives the bytes of the short ones.
    """
    bundles: dict[tuple[str, bool], _Bundle] = {}
    for identity, run in runs:
        dtype, _, nbytes, big_endian = run
        if nbytes >= SHORT:
            yield Wanted(((identity, nbytes),), run_source(file, run))
            continue
        bundle = bundles.get((dtype, big_endian))
        if bundle is None or not bundle.has_room(nbytes):
            if bundle:
                yield bundle.wanted(digested)
            bundle = bundles[dtype, big_endian] = _Bundle()
        bundle.nbytes += nbytes
        bundle.buffers.append((identity, nbytes))
        bundle.runs.append(run)
    for bundle in bundles.values():
        yield bundle.wanted(digested)


class _Bundle:
    """Short runs of one dtype and byte order."""

    def __init__(self) -> None:
        self.nbytes = 0
        self.buffers: list[tuple[BufferId, int]] = []
        self.runs: list[Run] = []

    def has_room(self, nbytes: int) -> bool:
        return self.nbytes + nbytes <= BUNDLE and len(self.runs) < BUNDLE_BUFFERS

    def wanted(self, digested: Digested) -> Wanted:
        dtype, _, _, big_endian = self.runs[0]
        data: Source = Joined(_windows(digested, self.runs))
        data = swapped(data, dtype) if big_endian else data
        blocks = _cut([run.nbytes for run in self.runs])
        return Wanted(tuple(self.buffers), data, blocks=tuple(blocks), checked=True)


def _windows(file: Source, runs: Sequence[Run]) -> Iterator[Source]:
    """The bytes of runs; of those that lie side by side at once."""
    begin = end = runs[0].start
    for _, start, nbytes, _ in runs:
        if start != end:
            yield file.window(begin, end - begin)
            begin = start
        end = start + nbytes
    yield file.window(begin, end - begin)


def _cut(sizes: Sequence[int]) -> Iterator[int]:
    """Lengths of blocks: each as many buffers as reading the shortest of them allows."""
    block, shortest = 0, SHORT
    for nbytes in sizes:
        shortest = min(shortest, nbytes)
        if block and block + nbytes > longest_block(shortest):
            yield block
            block, shortest = 0, nbytes
        block += nbytes
    yield block
