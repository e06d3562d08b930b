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
from git_theta.storage.payload import BUNDLE, BUNDLE_BUFFERS, SHORT, BufferId
from git_theta.storage.wanted import Wanted, cut_blocks
from git_theta.table import Run
from git_theta.views import swapped


def gather(
    file: Source, digested: Digested, runs: Iterable[tuple[BufferId, Run]]
) -> Iterator[Wanted]:
    """What to store for the runs of a file, in their order, short ones of a kind together.

    ``digested`` gives the bytes of the short ones.
    """
    short: dict[tuple[str, bool], list[tuple[BufferId, Run]]] = {}
    for item in runs:
        identity, run = item
        dtype, _, nbytes, big_endian, *_ = run
        if nbytes >= SHORT:
            yield Wanted(((identity, nbytes),), run_source(file, run))
            continue
        kind = short.setdefault((dtype, big_endian), [])
        kind.append(item)
        if len(kind) == BUNDLE_BUFFERS:
            yield from _bundles(digested, kind)
            kind.clear()
    for kind in short.values():
        yield from _bundles(digested, kind)


def _bundles(digested: Digested, short: Sequence[tuple[BufferId, Run]]) -> Iterator[Wanted]:
    """Bundles of short runs of one dtype and byte order."""
    first = nbytes = 0
    for end, (_, run) in enumerate(short):
        nbytes += run.nbytes
        if nbytes > BUNDLE:
            yield _bundle(digested, short[first:end])
            first, nbytes = end, run.nbytes
    if nbytes:
        yield _bundle(digested, short[first:])


def _bundle(digested: Digested, short: Sequence[tuple[BufferId, Run]]) -> Wanted:
    runs = [run for _, run in short]
    dtype, _, _, big_endian, *_ = runs[0]
    data: Source = Joined(_windows(digested, runs))
    data = swapped(data, dtype) if big_endian else data
    buffers = tuple([(identity, run.nbytes) for identity, run in short])
    blocks = cut_blocks([run.nbytes for run in runs])
    return Wanted(buffers, data, blocks=blocks, checked=True)


def _windows(file: Source, runs: Sequence[Run]) -> Iterator[Source]:
    """The bytes of runs; of those that lie side by side at once."""
    begin = end = runs[0].start
    for _, start, nbytes, *_ in runs:
        if start != end:
            yield file.window(begin, end - begin)
            begin = start
        end = start + nbytes
    yield file.window(begin, end - begin)
