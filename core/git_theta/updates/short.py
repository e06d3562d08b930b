"""Short buffers that are told by what they were: those of a bundle, each by its own base.

There is nothing to choose from, as there is for long ones: a few hundred numbers tell too little of
low-rank matrices, and asking would take longer than storing them. The difference to the first base
that can be afforded is taken, in Rice codes, wherever it is shorter than the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import blake3

from git_theta.dtypes import BITS
from git_theta.errors import CheckpointError, MissingPackError, MissingPluginError, PackError
from git_theta.plugins import Plugins
from git_theta.source import BytesSource
from git_theta.storage.chain import Spot, Step, Ways
from git_theta.storage.decode import Reader
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import MAX_DEPTH, BufferId, longest_block
from git_theta.updates.choose import WORTH, Choice
from git_theta.updates.grounds import Candidate
from git_theta.updates.interface import Numbers, Part, Update
from git_theta.updates.residual import word_name
from git_theta.updates.sampling import guess_stored

SERIALIZER = "rice"
NAMING = 40
"""Bytes that it takes to name a base."""
PAYLOAD = 200
"""Bytes that another payload takes."""

_UNREADABLE = (MissingPackError, MissingPluginError, PackError, CheckpointError)


class Standing(NamedTuple):
    """Buffers of a bundle that stand on bases, and how they are stored together."""

    slots: tuple[int, ...]
    """Which they are."""
    sizes: tuple[int, ...]
    """Bytes of each."""
    choice: Choice


class _Told(NamedTuple):
    """A buffer and its difference to a base."""

    slot: int
    base: BufferId
    steps: dict[Spot, Step]
    """What is read to decode the base."""
    difference: bytes

    @property
    def cost(self) -> int:
        """Stored bytes that are read to decode the base."""
        return sum(step.nbytes for step in self.steps.values())


def find_standing(
    store: LocalStore,
    plugins: Plugins,
    buffers: Sequence[tuple[BufferId, int]],
    data: bytes | memoryview,
    near: Sequence[Sequence[Candidate]],
) -> Standing | None:
    """Those of the buffers of a bundle that are shorter as differences; None: too few are.

    Parameters
    ----------
    store, plugins
        Where bases are read; what reads them.
    buffers, data
        The buffers, each with its length in bytes, and their bytes one after another.
    near
        What each of them may resemble, the likeliest first.
    """
    dtype = buffers[0][0].dtype
    told = list(_tell(store, plugins, buffers, memoryview(data), near))
    if not told:
        return None
    serializer = plugins.serializer(SERIALIZER)
    _, lengths = serializer.encode_blocks(
        b"".join(one.difference for one in told),
        [len(one.difference) for one in told],
        word_name(dtype),
    )
    dense = WORTH * guess_stored(BytesSource(data), dtype) / len(data)
    kept, saved = [], -PAYLOAD
    for one, length in zip(told, lengths, strict=True):
        nbytes = len(one.difference)
        gain = dense * nbytes - length - NAMING
        if gain > 0 and one.cost + length <= longest_block(nbytes):
            kept.append(one)
            saved += int(gain)
    return _standing(kept, dtype) if saved > 0 else None


def _standing(kept: Sequence[_Told], dtype: str) -> Standing:
    payloads = {spot[:2]: step.payload.nbytes for one in kept for spot, step in one.steps.items()}
    difference = BytesSource(b"".join(one.difference for one in kept))
    choice = Choice(
        "delta",
        Update((Part(word_name(dtype), difference, SERIALIZER),)),
        tuple(one.base for one in kept),
        1 + max(len(one.steps) for one in kept),
        sum(payloads.values()),
    )
    sizes = tuple(len(one.difference) for one in kept)
    return Standing(tuple(one.slot for one in kept), sizes, choice)


def _tell(
    store: LocalStore,
    plugins: Plugins,
    buffers: Sequence[tuple[BufferId, int]],
    data: memoryview,
    near: Sequence[Sequence[Candidate]],
) -> list[_Told]:
    """The buffers that can be told by a base; each was decoded again and is what it was."""
    update_type = plugins.update_type("delta")
    reader = Reader(store, plugins)
    ways = reader.ways
    found = ways.find({candidate.buffer for some in near for candidate in some})
    told = []
    ends = accumulate(nbytes for _, nbytes in buffers)
    for slot, ((buffer, nbytes), end) in enumerate(zip(buffers, ends, strict=True)):
        alike = [one.buffer for one in near[slot] if one.buffer.dtype == buffer.dtype]
        bases = [base for base in alike if base in found]
        grounds = _affordable(ways, bases, nbytes)
        if grounds is None:
            continue
        base, steps = grounds
        new = data[end - nbytes : end]
        try:
            old = reader.open(base).read(0, nbytes)
            if blake3.blake3(old).digest() != base.digest:
                continue
        except _UNREADABLE:
            continue
        shape = (nbytes * 8 // BITS[buffer.dtype],)
        numbers = [Numbers(BytesSource(one), buffer.dtype, shape) for one in (new, old)]
        update = update_type.encode(numbers[0], numbers[1:])
        assert update is not None
        (part,) = update.parts
        difference = bytes(part.data.read(0, nbytes))
        again = Update((Part(part.dtype, BytesSource(difference)),))
        decoded = update_type.decode(again, [numbers[1].data], buffer.dtype, nbytes)
        if decoded.read(0, nbytes) == new:
            told.append(_Told(slot, base, steps, difference))
    return told


def _affordable(
    ways: Ways, bases: Sequence[BufferId], nbytes: int
) -> tuple[BufferId, dict[Spot, Step]] | None:
    """The first base of so many bytes on which something can stand, or below which it can."""
    waiting = list(bases)
    while waiting:
        base = waiting.pop(0)
        try:
            steps = ways.chain(ways.find([base])[base])
        except (KeyError, *_UNREADABLE):
            continue
        top = next(iter(steps.values()))
        if top.payload.buffers[top.slot][1] != nbytes:
            continue
        cost = sum(step.nbytes for step in steps.values())
        if len(steps) < MAX_DEPTH and cost + nbytes // 2 <= longest_block(nbytes):
            return base, steps
        waiting[:0] = top.bases
    return None
