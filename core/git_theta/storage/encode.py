"""From a buffer to the serialized blocks of a payload, each proven by reading it back.

What is read is hashed again: a file that changes while it is added is noticed before anything
refers to the pack.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import blake3
import numpy as np
from numpy.typing import NDArray

from git_theta.errors import FileChangedError, PluginError, StoreError
from git_theta.parallel import ordered_map
from git_theta.plugins import Plugins
from git_theta.serializers.interface import Serializer
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import MAX_BLOCK, MIN_BLOCK
from git_theta.storage.wanted import Wanted, part_of
from git_theta.storage.writing import Encoded, Head, StoredPart
from git_theta.updates.choose import PREFERRED, Choice, choose
from git_theta.updates.interface import Part
from git_theta.updates.lessons import Lesson
from git_theta.updates.short import find_standing


class Pending(NamedTuple):
    """A payload that is being encoded."""

    head: Head
    parts: tuple[Part, ...]
    checked: bool
    """Whether the bytes are known to be those that were digested."""
    lesson: Lesson | None
    """What the choice teaches of other buffers."""
    hasher: Any
    following: Pending | None = None
    """A second payload for the same buffers of a file: those of a bundle without bases."""


class _Job(NamedTuple):
    """Bytes to serialize: one long block, or all blocks of a bundle."""

    pending: Pending
    part: int
    offset: int
    nbytes: int
    last: bool
    """Whether the payload ends with it."""


def decide(
    store: LocalStore, plugins: Plugins, one: Wanted, lessons: Sequence[Lesson] = ()
) -> Pending:
    """Choose the update under which something is stored."""
    if one.blocks:
        return _decide_bundle(store, plugins, one)
    buffer = one.buffers[0][0]
    choice = choose(store, plugins, buffer, one.numbers(), one.bases, one.form, lessons)
    blocks = [_block_bytes(plugins, part) for part in choice.update.parts]
    return _pending(one, choice, blocks)


def _decide_bundle(store: LocalStore, plugins: Plugins, one: Wanted) -> Pending:
    """A bundle: dense, or some of its buffers by their bases and the others behind them."""
    if not one.near:
        return _dense(plugins, one)
    data = one.data.read(0, one.data.size)
    standing = find_standing(store, plugins, one.buffers, data, one.near)
    if standing is None:
        return _dense(plugins, one)
    some = part_of(one, data, standing.slots)._replace(blocks=standing.sizes)
    pending = _pending(some, standing.choice, [some.data.size])
    others = sorted(set(range(len(one.buffers))).difference(standing.slots))
    if others:
        return pending._replace(following=_dense(plugins, part_of(one, data, others)))
    return pending


def _dense(plugins: Plugins, bundle: Wanted) -> Pending:
    dense = plugins.update_type("dense").encode(bundle.numbers(), ())
    assert dense is not None
    return _pending(bundle, Choice("dense", dense), [bundle.data.size])


def _pending(one: Wanted, choice: Choice, blocks: Sequence[int]) -> Pending:
    if not choice.update.parts:
        raise PluginError(f"The update type {choice.name} gave an update without parts")
    parts = tuple(
        StoredPart(part.dtype, part.serializer or PREFERRED, part.data.size, block)
        for part, block in zip(choice.update.parts, blocks, strict=True)
    )
    head = Head(
        one.buffers,
        choice.name,
        choice.update.params,
        choice.bases,
        choice.depth,
        choice.base_cost,
        parts,
        one.blocks,
    )
    return Pending(head, choice.update.parts, one.checked, choice.lesson, blake3.blake3())


def encode(
    plugins: Plugins, pendings: Iterable[Pending], *, threads: int | None = None
) -> Iterator[Encoded]:
    """All blocks of payloads, in order, serialized on all cores, or in so many threads.

    Raises
    ------
    FileChangedError
        When a buffer no longer has the bytes that its digest was computed from.
    PluginError
        When a serializer does not give back what it was given.
    """
    jobs = (job for pending in pendings for job in _jobs(pending))
    done = ordered_map(lambda job: _encode(job, plugins), jobs, threads=threads)
    for job, raw, data, lengths in done:
        pending = job.pending
        if not pending.head.bundle and pending.head.name == "dense":
            pending.hasher.update(raw)
        if job.last:
            _verify(pending, raw)
        head = pending.head if job.part == job.offset == 0 else None
        yield Encoded(head, job.part, data, lengths, job.nbytes, job.last)


def _jobs(pending: Pending) -> Iterator[_Job]:
    parts = pending.head.parts
    for number, part in enumerate(parts):
        for offset in range(0, part.nbytes, part.block) if part.nbytes else (0,):
            end = min(offset + part.block, part.nbytes)
            last = number == len(parts) - 1 and end == part.nbytes
            yield _Job(pending, number, offset, end - offset, last)
    if pending.following:
        yield from _jobs(pending.following)


def _encode(
    job: _Job, plugins: Plugins
) -> tuple[_Job, bytes | memoryview, bytes | memoryview, list[int]]:
    """Serialize a job's bytes, and decode them again: what cannot be read back is not kept."""
    pending, number, offset, nbytes, _ = job
    part, bundle = pending.head.parts[number], pending.head.bundle
    raw = pending.parts[number].data.read(offset, nbytes)
    serializer = plugins.serializer(part.serializer)
    if not nbytes:
        return job, raw, b"", []
    if bundle:
        data, lengths = serializer.encode_blocks(raw, bundle, part.dtype)
        again = serializer.decode_blocks(data, lengths, bundle, part.dtype)
        if not np.array_equal(_numbers(again), _numbers(raw)):
            raise _unreadable(serializer)
        return job, raw, data, lengths
    block_data = serializer.encode(raw, part.dtype)
    if len(block_data) >= nbytes:  # what does not shrink is stored as it is
        return job, raw, raw, [nbytes]
    again = serializer.decode(block_data, part.dtype, nbytes)
    if not np.array_equal(_numbers(again), _numbers(raw)):
        raise _unreadable(serializer)
    return job, raw, block_data, [len(block_data)]


def _unreadable(serializer: Serializer) -> PluginError:
    return PluginError(
        f"The serializer {serializer.name} does not give back what it was given",
        remedy="Run git add again; if that fails too, git theta plugins tells who offers it",
    )


def _numbers(data: bytes | memoryview) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)


def _block_bytes(plugins: Plugins, part: Part) -> int:
    name = part.serializer or PREFERRED
    nbytes = plugins.serializer(name).block_bytes(part.dtype)
    if not MIN_BLOCK <= nbytes <= MAX_BLOCK or nbytes & (nbytes - 1):
        raise StoreError(
            f"The serializer {name} has blocks of {nbytes} bytes, expected a power of two "
            f"from {MIN_BLOCK} to {MAX_BLOCK}"
        )
    return nbytes


def _verify(pending: Pending, raw: bytes | memoryview) -> None:
    """Compare what was stored with what was digested; ``raw`` are the bytes of the last job.

    Updates other than dense proved themselves when they were chosen.
    """
    head = pending.head
    if head.name != "dense" or pending.checked:
        return
    if not head.bundle:
        found = [pending.hasher.digest()]
    else:
        view, at, found = memoryview(raw), 0, []
        for _, nbytes in head.buffers:
            found.append(blake3.blake3(view[at : at + nbytes]).digest())
            at += nbytes
    for (identity, _), value in zip(head.buffers, found, strict=True):
        if value != identity.digest:
            raise FileChangedError(
                f"The buffer {identity} has other bytes than a moment ago: "
                "the file was written to while it was being added",
                remedy="Run git add again once nothing writes to the file",
            )
