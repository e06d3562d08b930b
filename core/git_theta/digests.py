"""BLAKE3 of everything in a file: its runs and its parameter groups, on all cores."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

import blake3

from git_theta.checkpoint import Layout, Tensor
from git_theta.crew import Crew, can_fork
from git_theta.digested import STRETCH, Digested
from git_theta.dtypes import BITS, count_bytes
from git_theta.errors import PackError
from git_theta.items import RESTORE, where
from git_theta.parallel import ordered_map, worker_count
from git_theta.source import BLOCK, BytesSource, Source
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import SHORT, BufferId
from git_theta.table import Run
from git_theta.views import swapped, view_source

MANY = 4096
"""Short runs from which on processes digest them: threads would mostly wait for Python's lock."""
LONG = 8
"""Batches for each process from which on that takes longer than forking."""

_Digests = tuple[list[bytes], list[tuple[int, int, bytes]]]
"""Digests of runs, and of the stretches that the short ones fill: start, length, digest."""


def digest(source: Source) -> bytes:
    """BLAKE3 of a source, 32 bytes."""
    return digest_of(source.blocks())


def verify_item(
    source: Source, identity: BufferId, path: str, name: str, store: LocalStore
) -> None:
    """Check that the bytes of an item are those that its digest was computed from.

    Raises
    ------
    PackError
        When they are others, or cannot be decoded; the message names packs.
    """
    try:
        found = digest(source).hex()
    except PackError as fault:
        what = f"{path}, {name}: {fault.args[0]}; {where(store, identity)}"
        raise PackError(what, remedy=fault.remedy or RESTORE) from fault
    if found != identity.digest.hex():
        raise PackError(
            f"{path}, {name}: expected the digest {identity.digest.hex()}, found {found}; "
            f"{where(store, identity)}",
            remedy=RESTORE,
        )


def digest_of(blocks: Iterable[bytes | memoryview]) -> bytes:
    """BLAKE3 of blocks one after another, 32 bytes."""
    hasher = blake3.blake3()
    for block in blocks:
        hasher.update(block)
    return hasher.digest()


def run_source(file: Source, run: Run) -> Source:
    """A run's numbers, little-endian."""
    window = file.window(run.start, run.nbytes)
    return swapped(window, run.dtype) if run.big_endian else window


def digest_runs(
    file: Source, runs: Sequence[Run], advance: Callable[[int], None] = lambda _: None
) -> tuple[list[bytes], Digested]:
    """Digests of all runs in order, and the short ones' bytes, compared when they are read again.

    ``advance`` is told how many bytes are done.
    """
    found: list[bytes] = []
    digested = Digested(file)
    batches = list(_batches(runs))
    for batch, (digests, stretches) in zip(batches, _digest_all(file, batches), strict=True):
        found += digests
        for stretch in stretches:
            digested.add(*stretch)
        advance(sum([run[2] for run in batch]))
    return found, digested


def _digest_all(file: Source, batches: Sequence[Sequence[Run]]) -> Iterator[_Digests]:
    """Digests of batches in order: by threads, of many short runs by processes."""
    short = sum([len(batch) for batch in batches if len(batch) > 1])
    workers = worker_count()
    if short < MANY or len(batches) < LONG * workers or workers == 1 or not can_fork():
        yield from ordered_map(lambda batch: _digest_batch(file, batch), batches)
        return

    def work(number: int) -> Iterator[_Digests]:
        yield _digest_batch(file, batches[number])

    with Crew(work, workers) as crew:
        for task in [crew.ask(number) for number in range(len(batches))]:
            yield from crew.results(task)


def digest_tensors(
    file: Source, layout: Layout, whole: Sequence[int | None], digests: Sequence[bytes]
) -> list[bytes]:
    """Digests of all tensors in order; most are those of the runs that they are all of."""
    views = [tensor for tensor, run in zip(layout.tensors, whole, strict=True) if run is None]
    read = ordered_map(lambda tensor: digest(tensor_source(file, layout, tensor)), views)
    return [next(read) if run is None else digests[run] for run in whole]


def whole_runs(layout: Layout, runs: Sequence[Run], first: Sequence[int]) -> list[int | None]:
    """For each tensor the run that it is all of; None for a view."""
    found: list[int | None] = []
    nbytes_of = lru_cache(2**12)(count_bytes)  # most groups have one of few shapes
    for _, dtype, shape, buffer, offset, strides in layout.tensors:
        number = first[buffer]
        of, _, nbytes, *_ = runs[number]
        whole = (
            strides is None
            and offset == 0
            and dtype == of
            and nbytes == layout.buffers[buffer].nbytes
            and nbytes == nbytes_of(dtype, shape)
        )
        found.append(number if whole else None)
    return found


def tensor_source(file: Source, layout: Layout, tensor: Tensor) -> Source:
    """A tensor's elements: contiguous, row-major, little-endian."""
    _, dtype, shape, number, offset, strides = tensor
    buffer = layout.buffers[number]
    window = file.window(buffer.start, buffer.nbytes)
    if buffer.big_endian and strides is None and BITS[dtype] >= 8:
        at = offset * BITS[dtype] // 8
        return swapped(window.window(at, count_bytes(dtype, shape)), dtype)
    view = view_source(window, dtype, shape, offset, strides)
    return swapped(view, dtype) if buffer.big_endian else view


def _batches(runs: Sequence[Run]) -> Iterator[Sequence[Run]]:
    """Runs that lie close together, read at once; a long run by itself."""
    ends = [start + nbytes for _, start, nbytes, *_ in runs]
    first = 0
    while first < len(runs):
        last = max(first + 1, bisect_right(ends, runs[first].start + BLOCK, first))
        yield runs[first:last]
        first = last


def _digest_batch(file: Source, batch: Sequence[Run]) -> _Digests:
    """Digests of runs, and of the stretches that the short ones fill: start, length, digest."""
    start = batch[0].start
    span = batch[-1].start + batch[-1].nbytes - start
    if len(batch) == 1 and span > BLOCK:
        return [digest(run_source(file, batch[0]))], []
    window = memoryview(file.read(start, span))
    hash_bytes = blake3.blake3
    stretches = [
        (at, nbytes, hash_bytes(window[at - start : at - start + nbytes]).digest())
        for at, nbytes in _stretches(batch)
    ]
    if any(run.big_endian for run in batch):
        held = BytesSource(window)
        moved = [run._replace(start=run.start - start) for run in batch]
        return [digest(run_source(held, run)) for run in moved], stretches
    digests = [
        hash_bytes(window[at - start : at - start + nbytes]).digest() for _, at, nbytes, *_ in batch
    ]
    return digests, stretches


def _stretches(batch: Iterable[Run]) -> Iterator[tuple[int, int]]:
    """Where runs lie that are short and close together: start and length."""
    short = [(start, start + nbytes) for _, start, nbytes, *_ in batch if 0 < nbytes < SHORT]
    ends = [end for _, end in short]
    first = 0
    while first < len(short):
        start = short[first][0]
        last = max(first + 1, bisect_right(ends, start + STRETCH, first))
        yield start, ends[last - 1] - start
        first = last
