"""What a scanned and digested file is in metadata's terms: items, and the table that places them.

Pure: from a layout and digests to values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from git_theta.checkpoint import Layout
from git_theta.joined import Joined
from git_theta.metadata import Group, StoredBuffer
from git_theta.source import BytesSource, Source
from git_theta.storage.payload import BufferId
from git_theta.table import Run, Table, View, check_limits, print_table


@dataclass(frozen=True, slots=True)
class Description:
    """A file's items and where they lie."""

    groups: tuple[Group, ...]
    """Sorted; items 1 and up."""
    buffers: tuple[StoredBuffer, ...]
    """Runs that are no group's whole value, sorted; the items after the groups."""
    table: Table
    """Where the items lie in the file."""
    stored: tuple[tuple[int, BufferId, int], ...]
    """Items that have bytes of their own: item number, identity, a run that has the bytes."""


def describe(
    layout: Layout,
    runs: Sequence[Run],
    first: Sequence[int],
    whole: Sequence[int | None],
    run_digests: Sequence[bytes],
    tensor_digests: Sequence[bytes],
) -> Description:
    """Describe a file.

    Parameters
    ----------
    layout
        Its layout.
    runs, first
        What :func:`git_theta.table.cut_runs` made of it.
    whole
        What :func:`git_theta.digests.whole_runs` made of them.
    run_digests, tensor_digests
        BLAKE3 of each run and of each tensor, in their orders.

    Raises
    ------
    LimitExceeded
        When there are more of them than metadata can hold.
    """
    groups = tuple(
        sorted(
            Group(tensor.name, tensor.dtype, tensor.shape, value)
            for tensor, value in zip(layout.tensors, tensor_digests, strict=True)
        )
    )
    numbers = {group.name: number for number, group in enumerate(groups, 1)}
    owners = _owners(layout, numbers, whole)
    others = {
        StoredBuffer(run.dtype, run.nbytes, run_digests[number]): number
        for number, run in enumerate(runs)
        if number not in owners
    }
    buffers = tuple(sorted(others))
    stored = [
        (item, BufferId(groups[item - 1].dtype, groups[item - 1].digest), run)
        for run, item in owners.items()
    ]
    stored += [
        (item, BufferId(buffer.dtype, buffer.digest), others[buffer])
        for item, buffer in enumerate(buffers, 1 + len(groups))
    ]
    placed = {buffer: item for item, buffer in enumerate(buffers, 1 + len(groups))}
    run_items = [
        owners.get(number) or placed[StoredBuffer(run.dtype, run.nbytes, run_digests[number])]
        for number, run in enumerate(runs)
    ]
    table = _table(layout, runs, first, run_items, numbers)
    check_limits(table, 1 + len(groups) + len(buffers))
    return Description(groups, buffers, table, tuple(sorted(stored)))


def _owners(layout: Layout, numbers: dict[str, int], whole: Sequence[int | None]) -> dict[int, int]:
    """For each run that is all of a group: the item number of the first such group."""
    owners: dict[int, int] = {}
    for tensor, run in zip(layout.tensors, whole, strict=True):
        if run is not None:
            number = numbers[tensor.name]
            owners[run] = min(number, owners.get(run, number))
    return owners


def _table(
    layout: Layout,
    runs: Sequence[Run],
    first: Sequence[int],
    run_items: Sequence[int],
    numbers: dict[str, int],
) -> Table:
    gaps, end = [], 0
    for run in runs:
        gaps.append(run.start - end)
        end = run.start + run.nbytes
    views = []
    for tensor in layout.tensors:
        number, begin = numbers[tensor.name], first[tensor.buffer]
        if run_items[begin] == number:
            continue
        after = first[tensor.buffer + 1] if tensor.buffer + 1 < len(first) else len(runs)
        views.append(View(number, begin, after - begin, tensor.offset, tensor.strides))
    views.sort(key=lambda view: view.group)
    return Table(tuple(gaps), tuple(run_items), tuple(run.big_endian for run in runs), tuple(views))


def skeleton_source(file: Source, table: Table, runs: Sequence[Run]) -> Source:
    """The table, then all bytes of the file that belong to no run."""
    pieces: list[Source] = [BytesSource(print_table(table))]
    end = 0
    for run in runs:
        if run.start > end:
            pieces.append(file.window(end, run.start - end))
        end = run.start + run.nbytes
    pieces.append(file.window(end, file.size - end))
    return Joined(pieces)
