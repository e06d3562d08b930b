"""What shall be stored, in batches of which one teaches the others how it is told best.

What a batch teaches is known two batches later: so nobody waits for the slowest of the last one,
and whoever works how fast, the same buffers are told in the same way. A giant, which takes as long
as all others of its batch, teaches nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, islice
from typing import NamedTuple

from git_theta.dtypes import BITS
from git_theta.source import BytesSource, Source
from git_theta.storage.payload import SHORT, BufferId, longest_block
from git_theta.updates.choose import CHOSEN, Form
from git_theta.updates.grounds import Bases, Candidate
from git_theta.updates.interface import Numbers

BATCH = 8
"""Buffers of a batch."""
SCOUTS = 2
"""Buffers of the first batch from which the others learn."""
GIANT = 4 * 2**20
"""Bytes of the shortest giant."""


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
    near: tuple[Sequence[Candidate], ...] = ()
    """What each buffer of a bundle may resemble; (): nothing."""
    checked: bool = False
    """Whether ``data`` itself compares what it gives with what was digested."""
    form: Form = CHOSEN
    """How the only one shall be stored, where a user said so."""

    @property
    def comparable(self) -> bool:
        """Whether there is something that it may resemble."""
        return not self.blocks and self.bases != Bases()

    def numbers(self) -> Numbers:
        """The numbers to tell."""
        dtype = self.buffers[0][0].dtype
        return Numbers(self.data, dtype, self.shape or (self.data.size * 8 // BITS[dtype],))


def cut_blocks(sizes: Sequence[int]) -> tuple[int, ...]:
    """Lengths of a bundle's blocks: each as many buffers as reading the shortest of them allows."""
    blocks, block, shortest = [], 0, SHORT
    for nbytes in sizes:
        shortest = min(shortest, nbytes)
        if block and block + nbytes > longest_block(shortest):
            blocks.append(block)
            block, shortest = 0, nbytes
        block += nbytes
    return (*blocks, block)


def part_of(bundle: Wanted, data: bytes | memoryview, slots: Sequence[int]) -> Wanted:
    """Some of a bundle's buffers, of which ``data`` are the bytes of all."""
    sizes = [nbytes for _, nbytes in bundle.buffers]
    starts, view = list(accumulate(sizes, initial=0)), memoryview(data)
    some = b"".join([view[starts[slot] : starts[slot + 1]] for slot in slots])
    return Wanted(
        tuple([bundle.buffers[slot] for slot in slots]),
        BytesSource(some),
        blocks=cut_blocks([sizes[slot] for slot in slots]),
        checked=bundle.checked,
    )


class Batches:
    """The wanted in order, a batch at a time."""

    def __init__(self, wanted: Iterable[Wanted]) -> None:
        self._rest = iter(wanted)
        self.number = -1
        """Of the batch that was read last."""
        self.batch: list[Wanted] = []
        """That batch; an empty one at the end."""

    def read(self, number: int) -> list[Wanted]:
        """A batch that was not passed over yet."""
        while self.number < number:
            self.batch = list(islice(self._rest, BATCH))
            self.number += 1
        return self.batch


def scouts(batch: Sequence[Wanted]) -> list[int]:
    """The shortest that may resemble something, of those of most dimensions: they are quick."""
    comparable = [at for at, one in enumerate(batch) if one.comparable]
    order = sorted(comparable, key=lambda at: (-len(batch[at].shape or ()), batch[at].data.size))
    return sorted(order[:SCOUTS])


def giant(batch: Sequence[Wanted]) -> int | None:
    """The one that is longer than all others together, if there is one, and it is long."""
    sizes = [one.data.size for one in batch]
    longest = max(sizes, default=0)
    return sizes.index(longest) if longest >= GIANT and 2 * longest > sum(sizes) else None
