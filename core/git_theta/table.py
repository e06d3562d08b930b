"""The table of a file's layout: which items lie where, as docs/spec/metadata-v1.md says.

It opens the skeleton and is all that rebuilding needs to know of a format. Pure values.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from git_theta.checkpoint import Buffer, Layout, Tensor, check_tensor
from git_theta.errors import CheckpointError, LimitExceeded, MetadataError
from git_theta.metadata import MAX_ITEMS, Metadata
from git_theta.source import Source

RUN_BYTES = 2**30
"""Longest run; longer buffers are cut."""
MAX_STRIDES = 2**20
"""Most strides that a table may have."""
MAX_RECIPE = 64 * 2**20
"""Bytes of a recipe, which is held in memory while its frame is made."""
RECIPE_HEAD = 24
"""Bytes of a recipe that are none of its frame."""
MAX_RATIO, MAX_MORE = 16, 64 * 2**20
"""Frames have at most so many times the bytes of the file, and so many more, for their content: a
few bytes may claim any number."""

_HEADER = struct.Struct("<III")
_RECIPE = 2  # in place of 0 or 1, which say whether a run is big-endian


Run = Buffer
"""A buffer, or a part of a long one, in the file."""


class View(NamedTuple):
    """Where a group that is not a run's item takes its elements from."""

    group: int
    """Item number of the group."""
    run: int
    runs: int
    """How many runs it spans."""
    offset: int
    """First element, in elements from the run's start."""
    strides: tuple[int, ...] | None


class Frame(NamedTuple):
    """Runs in place of which the file has a frame of zstd."""

    run: int
    """The run that is the frame's recipe."""
    runs: int
    """How many runs after it the frame holds."""
    nbytes: int
    """Length of the frame in bytes."""


class Table(NamedTuple):
    """Runs in file order, the views of groups into them, and which of them make up frames."""

    gaps: tuple[int, ...]
    """Skeleton bytes that precede each run."""
    items: tuple[int, ...]
    """Item number of each run."""
    big_endian: tuple[bool, ...]
    views: tuple[View, ...] = ()
    frames: tuple[Frame, ...] = ()


def cut_runs(layout: Layout) -> tuple[list[Run], list[int]]:
    """The runs of a layout in file order, and the first run of each of its buffers."""
    if all(buffer.nbytes <= RUN_BYTES for buffer in layout.buffers):
        return list(layout.buffers), list(range(len(layout.buffers)))
    runs: list[Run] = []
    first: list[int] = []
    for dtype, start, nbytes, big_endian, *_ in layout.buffers:
        first.append(len(runs))
        for at in range(0, max(nbytes, 1), RUN_BYTES):
            runs.append(Run(dtype, start + at, min(RUN_BYTES, nbytes - at), big_endian))
    return runs, first


def print_table(table: Table) -> bytes:
    """The table's bytes."""
    views = table.views
    strides = [n for view in views for n in view.strides or ()]
    kinds = list(map(int, table.big_endian))
    for frame in table.frames:
        kinds[frame.run] = _RECIPE
    columns: list[tuple[str, Sequence[int]]] = [
        ("Q", table.gaps),
        ("I", table.items),
        ("B", kinds),
        ("I", [v.group for v in views]),
        ("I", [v.run for v in views]),
        ("I", [v.runs for v in views]),
        ("Q", [v.offset for v in views]),
        ("B", [v.strides is not None for v in views]),
        ("Q", strides),
        ("Q", [frame.nbytes for frame in table.frames]),
        ("I", [frame.runs for frame in table.frames]),
    ]
    header = _HEADER.pack(len(table.items), len(views), len(strides))
    return b"".join([header, *(_pack(kind, numbers) for kind, numbers in columns)])


def read_table(skeleton: Source, metadata: Metadata, path: str) -> tuple[Table, int]:
    """Read the table that opens a skeleton; also the table's length in bytes.

    Raises
    ------
    MetadataError
        When it is malformed or does not fit the metadata.
    """
    try:
        n_runs, n_views, n_strides = _HEADER.unpack(skeleton.read(0, _HEADER.size))
        if max(n_runs, n_views) > MAX_ITEMS or n_strides > MAX_STRIDES:
            raise ValueError(f"{n_runs} runs, {n_views} views, {n_strides} strides")
        of_runs_and_views = (
            *(("Q", n_runs), ("I", n_runs), ("B", n_runs)),
            *(("I", n_views), ("I", n_views), ("I", n_views), ("Q", n_views)),
            *(("B", n_views), ("Q", n_strides)),
        )
        columns, at = _read_columns(skeleton, _HEADER.size, of_runs_and_views)
        gaps, items, kinds, *views, flags, strides = columns
        if max(*kinds, 0, 0) > _RECIPE or max(*flags, 0, 0) > 1:
            raise ValueError("a flag of an unknown meaning")
        recipes = [run for run, kind in enumerate(kinds) if kind == _RECIPE]
        of_frames = (("Q", len(recipes)), ("I", len(recipes)))
        (sizes, counts), at = _read_columns(skeleton, at, of_frames)
        table = Table(
            tuple(gaps),
            tuple(items),
            tuple([kind == 1 for kind in kinds]),
            tuple(_read_views(views, flags, strides, metadata)),
            tuple(map(Frame, recipes, counts, sizes)),
        )
        _check_places(table, metadata)
        return table, at
    except (ValueError, struct.error, CheckpointError) as fault:
        raise MetadataError(f"{path}: its skeleton has a malformed layout: {fault}") from fault


def _pack(kind: str, numbers: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(numbers)}{kind}", *numbers)


def _read_columns(
    skeleton: Source, at: int, kinds: Sequence[tuple[str, int]]
) -> tuple[list[list[int]], int]:
    """Columns of so many numbers each, one after another from ``at``; also where they end."""
    columns = []
    for kind, count in kinds:
        form = f"<{count}{kind}"
        nbytes = struct.calcsize(form)
        columns.append(list(struct.unpack(form, skeleton.read(at, nbytes))))
        at += nbytes
    return columns, at


def _read_views(
    columns: list[list[int]], flags: list[int], strides: list[int], metadata: Metadata
) -> list[View]:
    views, at = [], 0
    for group, run, count, offset, strided in zip(*columns, flags, strict=True):
        if not 1 <= group <= len(metadata.groups):
            raise ValueError(f"a view of item {group}")
        rank = len(metadata.groups[group - 1].shape) if strided else 0
        steps = tuple(strides[at : at + rank]) if strided else None
        at += rank
        views.append(View(group, run, count, offset, steps))
    if at != len(strides):
        raise ValueError(f"{len(strides)} strides, expected {at}")
    return views


def _check_places(table: Table, metadata: Metadata) -> None:
    """Check that every item has its place, and that views lie inside the buffers they look at."""
    groups, buffers = metadata.groups, metadata.buffers
    count = 1 + len(groups) + len(buffers)
    if table.items and not 1 <= min(table.items) <= max(table.items) < count:
        raise ValueError(f"items {min(table.items)} to {max(table.items)}, {count} are there")
    placed = sorted({*table.items, *(view.group for view in table.views)})
    viewed = [view.group for view in table.views]
    if placed != list(range(1, count)) or viewed != sorted({*viewed} - {*table.items}):
        raise ValueError("items without a place, or with several")
    dtypes = [group.dtype for group in groups] + [buffer.dtype for buffer in buffers]
    sizes = [group.nbytes for group in groups] + [buffer.nbytes for buffer in buffers]
    ends = list(accumulate((sizes[item - 1] for item in table.items), initial=0))
    for number, frame in enumerate(table.frames):
        _check_frame(table, number)
        item = table.items[frame.run] - 1
        most = min(MAX_RECIPE, RECIPE_HEAD + frame.nbytes)
        if item < len(groups) or dtypes[item] != "U8" or not RECIPE_HEAD < sizes[item] <= most:
            raise ValueError(
                f"a recipe of {sizes[item]} bytes of {dtypes[item]} for a frame of {frame.nbytes}"
            )
    for group, run, runs, offset, strides in table.views:
        if not runs or run + runs > len(table.items):
            raise ValueError(f"a view of {runs} runs from {run}, {len(table.items)} are there")
        name, dtype, shape, _ = groups[group - 1]
        of = dtypes[table.items[run] - 1]
        buffer = Buffer(of, 0, ends[run + runs] - ends[run], table.big_endian[run])
        check_tensor(Tensor(name, dtype, shape, 0, offset, strides), buffer)


def _check_frame(table: Table, number: int) -> None:
    """Check that the runs of a frame are there, nothing between them, and no other frame's."""
    run, runs, _ = table.frames[number]
    others = [other.run for other in table.frames[number + 1 : number + 2]]
    if not runs or run + runs >= min([len(table.items), *others]):
        raise ValueError(f"a frame of {runs} runs behind run {run}")
    if any(table.gaps[run + 1 : run + 1 + runs]):
        raise ValueError("bytes of the skeleton inside a frame")


def check_limits(table: Table, items: int) -> None:
    """Check that metadata can hold what a file was found to consist of.

    Raises
    ------
    LimitExceeded
        When it has too many items, runs or strides.
    """
    strides = sum(len(view.strides or ()) for view in table.views)
    if max(items, len(table.items)) > MAX_ITEMS or strides > MAX_STRIDES:
        raise LimitExceeded(
            f"Expected at most {MAX_ITEMS} parameter groups and other buffers together, and "
            f"{MAX_STRIDES} strides, found {items}, {len(table.items)} runs, {strides} strides"
        )
