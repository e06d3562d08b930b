"""The table of a file's layout: which items lie where, as docs/spec/metadata-v1.md says.

It opens the skeleton and is all that rebuilding needs to know of a format. Pure values.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from git_theta.checkpoint import Layout
from git_theta.errors import MetadataError
from git_theta.metadata import MAX_ITEMS, Metadata
from git_theta.source import Source

RUN_BYTES = 2**30
"""Longest run; longer buffers are cut."""

_HEADER = struct.Struct("<III")


class Run(NamedTuple):
    """A buffer, or a part of a long one, in the file."""

    dtype: str
    start: int
    """Offset in the file."""
    nbytes: int
    big_endian: bool


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


@dataclass(frozen=True, slots=True)
class Table:
    """Runs in file order, and the views of groups into them."""

    gaps: tuple[int, ...]
    """Skeleton bytes that precede each run."""
    items: tuple[int, ...]
    """Item number of each run."""
    big_endian: tuple[bool, ...]
    views: tuple[View, ...] = ()


def cut_runs(layout: Layout) -> tuple[list[Run], list[int]]:
    """The runs of a layout in file order, and the first run of each of its buffers."""
    runs: list[Run] = []
    first: list[int] = []
    for dtype, start, nbytes, big_endian in layout.buffers:
        first.append(len(runs))
        if nbytes <= RUN_BYTES:
            runs.append(Run(dtype, start, nbytes, big_endian))
            continue
        for at in range(0, nbytes, RUN_BYTES):
            runs.append(Run(dtype, start + at, min(RUN_BYTES, nbytes - at), big_endian))
    return runs, first


def print_table(table: Table) -> bytes:
    """The table's bytes."""
    views = table.views
    strides = [n for view in views for n in view.strides or ()]
    columns: list[tuple[str, list[int] | tuple[int, ...]]] = [
        ("<u8", table.gaps),
        ("<u4", table.items),
        ("u1", table.big_endian),
        ("<u4", [v.group for v in views]),
        ("<u4", [v.run for v in views]),
        ("<u4", [v.runs for v in views]),
        ("<u8", [v.offset for v in views]),
        ("u1", [v.strides is not None for v in views]),
        ("<u8", strides),
    ]
    header = _HEADER.pack(len(table.items), len(views), len(strides))
    return b"".join([header, *(np.array(c, dtype).tobytes() for dtype, c in columns)])


def read_table(skeleton: Source, metadata: Metadata, path: str) -> tuple[Table, int]:
    """Read the table that opens a skeleton; also the table's length in bytes.

    Raises
    ------
    MetadataError
        When it is malformed or does not fit the metadata.
    """
    try:
        n_runs, n_views, n_strides = _HEADER.unpack(skeleton.read(0, _HEADER.size))
        if max(n_runs, n_views, n_strides) > MAX_ITEMS:
            raise ValueError(f"{n_runs} runs, {n_views} views, {n_strides} strides")
        at = _HEADER.size
        columns = []
        for dtype, count in (
            *(("<u8", n_runs), ("<u4", n_runs), ("u1", n_runs)),
            *(("<u4", n_views), ("<u4", n_views), ("<u4", n_views), ("<u8", n_views)),
            *(("u1", n_views), ("<u8", n_strides)),
        ):
            nbytes = count * np.dtype(dtype).itemsize
            columns.append(np.frombuffer(skeleton.read(at, nbytes), dtype).tolist())
            at += nbytes
        gaps, items, big_endian, *views, flags, strides = columns
        return (
            Table(
                tuple(gaps),
                tuple(items),
                tuple(map(bool, big_endian)),
                tuple(_read_views(views, flags, strides, metadata)),
            ),
            at,
        )
    except (ValueError, struct.error, ArithmeticError) as fault:
        raise MetadataError(f"{path}: its skeleton has a malformed layout: {fault}") from fault


def _read_views(
    columns: list[list[int]], flags: list[int], strides: list[int], metadata: Metadata
) -> list[View]:
    views = []
    for group, run, count, offset, strided in zip(*columns, flags, strict=True):
        if not 1 <= group <= len(metadata.groups):
            raise ValueError(f"a view of item {group}")
        rank = len(metadata.groups[group - 1].shape)
        steps = tuple(strides[:rank]) if strided else None
        if strided:
            if len(strides) < rank:
                raise ValueError("strides are missing")
            strides = strides[rank:]
        views.append(View(group, run, count, offset, steps))
    return views
