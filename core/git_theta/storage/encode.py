"""From buffers to packs: every buffer that the store lacks becomes a payload.

Blocks are serialized on all cores and written in order, so the same buffers give the same packs
however many threads work. What is read is hashed again: a file that changes while it is added is
noticed before anything refers to the pack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from git_theta.dtypes import BITS
from git_theta.errors import PluginError, StoreError
from git_theta.parallel import ordered_map
from git_theta.plugins import Plugins
from git_theta.serializers.interface import Serializer
from git_theta.source import Source
from git_theta.storage.index import Location
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import (
    MAX_BLOCK,
    MIN_BLOCK,
    BufferId,
)
from git_theta.storage.writing import Encoded, Job, Packs, Pending
from git_theta.updates.choose import CHOSEN, PREFERRED, Choice, Form, choose
from git_theta.updates.grounds import Bases
from git_theta.updates.hold import HELD, MAX_HELD
from git_theta.updates.interface import Numbers, Part

CHOOSERS = 2
"""Threads that choose updates: many short steps of Python, so more would wait for each other."""
AHEAD = 16
"""Buffers that are looked at while a longer one before them is."""


class Wanted(NamedTuple):
    """What shall become one payload: a buffer, or several short ones of one dtype."""

    buffers: tuple[tuple[BufferId, int], ...]
    """Each with its length in bytes; none is empty."""
    data: Source
    """Their bytes one after another, little-endian."""
    bases: Bases = Bases()
    """What the only one may resemble."""
    shape: tuple[int, ...] | None = None
    """Elements by dimension of the group that it is; None: it is not all of one."""
    blocks: tuple[int, ...] = ()
    """Bytes of each block of a bundle; every buffer lies in one of them."""
    checked: bool = False
    """Whether ``data`` itself compares what it gives with what was digested."""
    form: Form = CHOSEN
    """How the only one shall be stored, where a user said so."""


def store_buffers(
    store: LocalStore,
    plugins: Plugins,
    wanted: Iterable[Wanted],
    advance: Callable[[int], None] = lambda _: None,
) -> dict[BufferId, Location]:
    """Write buffers into packs of the store, in the order given; where each lies now.

    ``advance`` is told how many bytes of buffers are done.

    Raises
    ------
    FileChangedError
        When a buffer no longer has the bytes that its digest was computed from.
    StoreError
        When the store cannot be written to.
    """
    packs = Packs(store, plugins)
    try:
        jobs = _jobs(_pending(store, plugins, wanted))
        for encoded in ordered_map(lambda job: _encode(job, plugins), jobs):
            packs.write(encoded)
            advance(len(encoded.raw))
        packs.finish()
        return packs.locations
    except OSError as fault:
        raise StoreError(
            f"Cannot write to the store {store.folder}: {fault}",
            remedy="Free some space (or mend the disk), then run the command again",
        ) from fault
    finally:
        packs.close()


def _pending(store: LocalStore, plugins: Plugins, wanted: Iterable[Wanted]) -> Iterator[Pending]:
    """How each is stored: chosen in few threads, and in order."""

    def decide(one: Wanted) -> Pending:
        if one.blocks:
            dense = plugins.update_type("dense").encode(_numbers_of(one), ())
            assert dense is not None
            whole = (one.data.size,)
            return Pending(one.buffers, Choice("dense", dense), whole, one.blocks, one.checked)
        buffer = one.buffers[0][0]
        choice = choose(store, plugins, buffer, _numbers_of(one), one.bases, one.form)
        blocks = (_block_bytes(plugins, part) for part in choice.update.parts)
        return Pending(one.buffers, choice, tuple(blocks))

    return ordered_map(decide, wanted, weigh=_weight, limit=MAX_HELD, ahead=AHEAD, threads=CHOOSERS)


def _numbers_of(wanted: Wanted) -> Numbers:
    data, dtype = wanted.data, wanted.buffers[0][0].dtype
    return Numbers(data, dtype, wanted.shape or (data.size * 8 // BITS[dtype],))


def _weight(wanted: Wanted) -> int:
    """Bytes that choosing an update holds: a base, an update, and what is computed of them."""
    return 0 if wanted.bases == Bases() else 3 * min(wanted.data.size, HELD)


def _jobs(pendings: Iterable[Pending]) -> Iterator[Job]:
    for pending in pendings:
        parts = pending.choice.update.parts
        if not parts:
            raise PluginError(f"The update type {pending.choice.name} gave an update without parts")
        for number, (part, block) in enumerate(zip(parts, pending.blocks, strict=True)):
            size = part.data.size
            for offset in range(0, size, block) if size else (0,):
                end = min(offset + block, size)
                last = number == len(parts) - 1 and end == size
                yield Job(pending, number, offset, end - offset, last)


def _encode(job: Job, plugins: Plugins) -> Encoded:
    """Serialize a job's bytes, and decode them again: what cannot be read back is not kept."""
    pending, number, offset, nbytes, _ = job
    part = pending.choice.update.parts[number]
    raw = part.data.read(offset, nbytes)
    serializer = plugins.serializer(part.serializer or PREFERRED)
    if not nbytes:
        return Encoded(job, raw, b"", [])
    if pending.bundle:
        data, lengths = serializer.encode_blocks(raw, pending.bundle, part.dtype)
        again = serializer.decode_blocks(data, lengths, pending.bundle, part.dtype)
        if not np.array_equal(_numbers(again), _numbers(raw)):
            raise _unreadable(serializer)
        return Encoded(job, raw, data, lengths)
    block_data = serializer.encode(raw, part.dtype)
    if len(block_data) >= nbytes:  # what does not shrink is stored as it is
        return Encoded(job, raw, raw, [nbytes])
    again = serializer.decode(block_data, part.dtype, nbytes)
    if not np.array_equal(_numbers(again), _numbers(raw)):
        raise _unreadable(serializer)
    return Encoded(job, raw, block_data, [len(block_data)])


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
