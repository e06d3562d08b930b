"""What a scanned and digested file is in metadata's terms: items, and the table that places them.

Pure: from a layout and digests to values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from git_theta.checkpoint import Layout, Tensor
from git_theta.joined import Joined
from git_theta.metadata import Group, StoredBuffer
from git_theta.rows import rows
from git_theta.source import BytesSource, Source
from git_theta.storage.payload import BufferId
from git_theta.table import Frame, Run, Table, View, check_limits, print_table


class Description(NamedTuple):
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
    recipes: Mapping[int, int],
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
    recipes
        Which buffers are recipes of frames, with the bytes of each frame.

    Raises
    ------
    LimitExceeded
        When there are more of them than metadata can hold.
    """
    tensors = layout.tensors
    order = sorted(range(len(tensors)), key=[tensor.name for tensor in tensors].__getitem__)
    groups = _groups([tensors[n] for n in order], [tensor_digests[n] for n in order])
    numbers = dict(zip(order, range(1, 1 + len(order)), strict=True))
    # for each run that is all of a group: the item number of the first such group
    owners = {whole[n]: numbers[n] for n in reversed(order)}
    unowned = [number for number in range(len(runs)) if number not in owners]
    others = {
        number: StoredBuffer(runs[number].dtype, runs[number].nbytes, run_digests[number])
        for number in unowned
    }
    buffers = tuple(sorted({*others.values()}))
    placed = {buffer: item for item, buffer in enumerate(buffers, 1 + len(groups))}
    items = owners | {number: placed[buffer] for number, buffer in others.items()}
    run_items = list(map(items.__getitem__, range(len(runs))))
    stored = _stored(runs, run_items, run_digests)
    table = _table(layout, runs, first, run_items, numbers, recipes)
    check_limits(table, 1 + len(groups) + len(buffers))
    return Description(groups, buffers, table, stored)


def _groups(tensors: Sequence[Tensor], digests: Sequence[bytes]) -> tuple[Group, ...]:
    if not tensors:
        return ()
    names, dtypes, shapes, *_ = zip(*tensors, strict=True)
    return rows(Group, names, dtypes, shapes, digests)


def _stored(
    runs: Sequence[Run], run_items: Sequence[int], digests: Sequence[bytes]
) -> tuple[tuple[int, BufferId, int], ...]:
    found = dict(zip(run_items, range(len(runs)), strict=True))
    items = sorted(found)
    numbers = [found[item] for item in items]
    dtypes = [runs[number].dtype for number in numbers]
    identities = rows(BufferId, dtypes, [digests[number] for number in numbers])
    return tuple(zip(items, identities, numbers, strict=True))


def _table(
    layout: Layout,
    runs: Sequence[Run],
    first: Sequence[int],
    run_items: Sequence[int],
    numbers: Mapping[int, int],
    recipes: Mapping[int, int],
) -> Table:
    ends = [0, *[start + nbytes for _, start, nbytes, *_ in runs]]
    gaps = [run[1] - end for run, end in zip(runs, ends, strict=False)]
    views = []
    for index, tensor in enumerate(layout.tensors):
        number, begin = numbers[index], first[tensor.buffer]
        if run_items[begin] == number:
            continue
        after = _after(tensor.buffer, first, runs)
        views.append(View(number, begin, after - begin, tensor.offset, tensor.strides))
    views.sort(key=lambda view: view.group)
    frames = [
        Frame(first[buffer], _after(buffer + 1, first, runs) - first[buffer + 1], nbytes)
        for buffer, nbytes in recipes.items()
    ]
    big_endian = tuple(run.big_endian for run in runs)
    return Table(tuple(gaps), tuple(run_items), big_endian, tuple(views), tuple(frames))


def _after(buffer: int, first: Sequence[int], runs: Sequence[Run]) -> int:
    """The run that follows those of a buffer."""
    return first[buffer + 1] if buffer + 1 < len(first) else len(runs)


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
