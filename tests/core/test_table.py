"""The table of a layout comes back from its bytes; one that does not fit is refused."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_theta import table as table_module
from git_theta.checkpoint import Buffer, Layout
from git_theta.errors import LimitExceeded, MetadataError
from git_theta.metadata import Group, Metadata, Skeleton, StoredBuffer
from git_theta.source import BytesSource
from git_theta.table import (
    MAX_RECIPE,
    Frame,
    Run,
    Table,
    View,
    check_limits,
    cut_runs,
    print_table,
    read_table,
)


def describe(
    groups: list[tuple[str, tuple[int, ...]]], buffers: list[int], recipes: Sequence[int] = ()
) -> Metadata:
    """Metadata of F32 or other groups, and of F32 buffers and of recipes of so many bytes."""
    return Metadata(
        (("synthetic", "theta-synthetic"),),
        bytes(32),
        0,
        Skeleton(bytes(32), 0, 0),
        tuple(Group(f"g{n}", dtype, shape, bytes(32)) for n, (dtype, shape) in enumerate(groups)),
        (
            *(StoredBuffer("F32", nbytes, bytes(32)) for nbytes in buffers),
            *(StoredBuffer("U8", nbytes, bytes(32)) for nbytes in recipes),
        ),
        (),
    )


METADATA = describe([("F32", (4,)), ("F32", (2, 2)), ("I32", (3,)), ("F32", ())], [16])
TABLE = Table(
    (7, 0, 9),
    (1, 5, 1),
    (False, True, True),
    (View(2, 0, 1, 0, (1, 2)), View(3, 1, 1, 1, None), View(4, 1, 2, 7, ())),
)


def read(data: bytes, metadata: Metadata = METADATA) -> tuple[Table, int]:
    return read_table(BytesSource(data + b"skeleton"), metadata, "model.bin")


def test_table_comes_back_from_its_bytes() -> None:
    data = print_table(TABLE)
    assert read(data) == (TABLE, len(data))
    assert data[:12] == struct.pack("<3I", 3, 3, 2)


@given(
    st.lists(
        st.tuples(st.integers(0, 2**64 - 1), st.integers(1, 8), st.booleans()), min_size=1
    ).filter(lambda rows: {item for _, item, _ in rows} == set(range(1, 9)))
    | st.permutations(range(1, 9)).map(lambda items: [(0, item, False) for item in items]),
    st.data(),
)
def test_any_table_comes_back(rows: list[tuple[int, int, bool]], data: st.DataObject) -> None:
    gaps, items, big = zip(*rows, strict=True)
    views = []
    groups = [("F32", (4,))] * 8
    for number in range(9, 9 + data.draw(st.integers(0, 5))):
        rank = data.draw(st.integers(0, 3))
        strides = tuple(data.draw(st.integers(0, 1)) for _ in range(rank))
        run = data.draw(st.integers(0, len(items) - 1))
        runs = data.draw(st.integers(1, len(items) - run))
        strided = data.draw(st.booleans())
        views.append(
            View(number, run, runs, data.draw(st.integers(0, 3)), strides if strided else None)
        )
        groups.append(("F32", (1,) * rank))
    table = Table(gaps, items, big, tuple(views))
    printed = print_table(table)
    assert read(printed, describe(groups, [])) == (table, len(printed))


def test_empty_table_is_twelve_zeros() -> None:
    empty = Table((), (), ())
    assert print_table(empty) == bytes(12)
    assert read(bytes(12), describe([], [])) == (empty, 12)


ROWS = (TABLE.gaps, TABLE.items, TABLE.big_endian)
WRONG = {
    "item 0": Table((7, 0, 9), (0, 5, 1), TABLE.big_endian, TABLE.views),
    "item out of range": Table((7, 0, 9), (1, 6, 1), TABLE.big_endian, TABLE.views),
    "item without a place": Table((7, 0, 9), (1, 1, 1), TABLE.big_endian, TABLE.views),
    "group without a place": Table(*ROWS, TABLE.views[:2]),
    "view twice": Table(*ROWS, (TABLE.views[0], *TABLE.views)),
    "views out of order": Table(*ROWS, TABLE.views[::-1]),
    "view of a run's item": Table(*ROWS, (View(1, 0, 1, 0, None), *TABLE.views)),
    "view of no group": Table(*ROWS, (*TABLE.views, View(5, 0, 1, 0, None))),
    "view of the skeleton": Table(*ROWS, (View(0, 0, 1, 0, None), *TABLE.views)),
    "view of a run that is not there": Table(*ROWS, (*TABLE.views[:2], View(4, 3, 1, 0, ()))),
    "view of too many runs": Table(*ROWS, (*TABLE.views[:2], View(4, 1, 2**32 - 1, 0, ()))),
    "view of no run": Table(*ROWS, (*TABLE.views[:2], View(4, 1, 0, 0, ()))),
    "view beyond its buffer": Table(*ROWS, (*TABLE.views[:2], View(4, 1, 2, 8, ()))),
    "view far beyond its buffer": Table(*ROWS, (*TABLE.views[:2], View(4, 1, 2, 2**64 - 1, ()))),
    "strides beyond the buffer": Table(*ROWS, (View(2, 0, 1, 0, (2, 2)), *TABLE.views[1:])),
    "huge strides": Table(*ROWS, (View(2, 0, 1, 0, (2**63, 2**63)), *TABLE.views[1:])),
}


@pytest.mark.parametrize("what", WRONG)
def test_table_that_does_not_fit_its_metadata_is_refused(what: str) -> None:
    with pytest.raises(MetadataError, match=r"model\.bin: its skeleton has a malformed layout"):
        read(print_table(WRONG[what]))


PACKED = describe([("F32", (4,)), ("F32", (2, 2))], [], [30])
FRAMED = Table(
    (7, 0, 9, 1, 0),
    (3, 1, 2, 3, 1),
    (False, True, False, False, False),
    (),
    (Frame(0, 1, 12), Frame(3, 1, 2**40)),
)


def test_frames_come_back_from_the_tables_bytes() -> None:
    data = print_table(FRAMED)
    assert read(data, PACKED) == (FRAMED, len(data))
    assert data[12 + 12 * 5 :][:5] == bytes([2, 1, 0, 2, 0])
    assert data[-24:] == struct.pack("<2Q2I", 12, 2**40, 1, 1)


def framed(*frames: Frame, gaps: tuple[int, ...] = FRAMED.gaps) -> Table:
    return Table(gaps, FRAMED.items, FRAMED.big_endian, (), frames)


WRONG_FRAMES = {
    "a frame of no run": framed(Frame(0, 0, 12)),
    "a frame that goes on into the next": framed(Frame(0, 3, 12), Frame(3, 1, 9)),
    "a frame that goes on behind the last run": framed(Frame(3, 2, 12)),
    "a frame of too many runs": framed(Frame(3, 2**32 - 1, 12)),
    "a recipe of numbers": framed(Frame(2, 1, 12)),
    "bytes inside a frame": framed(Frame(0, 1, 12), gaps=(7, 1, 9, 1, 0)),
    "a recipe at the end": framed(Frame(4, 1, 12)),
}


@pytest.mark.parametrize("what", WRONG_FRAMES)
def test_frames_that_do_not_fit_are_refused(what: str) -> None:
    with pytest.raises(MetadataError, match=r"model\.bin: its skeleton has a malformed layout"):
        read(print_table(WRONG_FRAMES[what]), PACKED)


@pytest.mark.parametrize("nbytes", [0, 24, 12 + 25, MAX_RECIPE + 1])
def test_recipes_that_cannot_be_of_their_frame_are_refused(nbytes: int) -> None:
    with pytest.raises(MetadataError, match=f"a recipe of {nbytes} bytes"):
        read(print_table(FRAMED), describe([("F32", (4,)), ("F32", (4,))], [], [nbytes]))


def test_a_group_is_no_recipe() -> None:
    groups = [("F32", (4,)), ("F32", (2, 2)), ("U8", (30,))]
    with pytest.raises(MetadataError, match="a recipe of 30 bytes"):
        read(print_table(FRAMED), describe(groups, []))


def test_flags_are_zero_or_one() -> None:
    data = bytearray(print_table(TABLE))
    for offset in (12 + 12 * 3, 12 + 13 * 3 + 20 * 3):
        damaged = data.copy()
        assert damaged[offset] in (0, 1)
        damaged[offset] = 2
        with pytest.raises(MetadataError):
            read(bytes(damaged))


def test_strides_that_no_view_has_are_refused() -> None:
    data = print_table(TABLE)
    with pytest.raises(MetadataError):
        read(struct.pack("<3I", 3, 3, 3) + data[12:] + bytes(8))
    with pytest.raises(MetadataError):
        read(struct.pack("<3I", 3, 3, 1) + data[12:-8])


def test_every_beginning_of_a_table_is_refused() -> None:
    data = print_table(TABLE)
    for length in range(len(data)):
        with pytest.raises(MetadataError):
            read_table(BytesSource(data[:length]), METADATA, "model.bin")


def test_long_buffers_are_cut_into_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "RUN_BYTES", 16)
    layout = Layout(
        (
            Buffer("F32", 4, 16),
            Buffer("F64", 20, 40, True),
            Buffer("U8", 60, 0),
            Buffer("U8", 60, 33),
        )
    )
    runs, first = cut_runs(layout)
    assert first == [0, 1, 4, 5]
    assert runs == [
        Run("F32", 4, 16, False),
        Run("F64", 20, 16, True),
        Run("F64", 36, 16, True),
        Run("F64", 52, 8, True),
        Run("U8", 60, 0, False),
        Run("U8", 60, 16, False),
        Run("U8", 76, 16, False),
        Run("U8", 92, 1, False),
    ]


@pytest.mark.parametrize("limit", ["MAX_ITEMS", "MAX_STRIDES"])
def test_what_metadata_cannot_hold_is_refused(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, limit, 6 if limit == "MAX_ITEMS" else 2)
    check_limits(TABLE, 6)
    monkeypatch.setattr(table_module, limit, 5 if limit == "MAX_ITEMS" else 1)
    with pytest.raises(LimitExceeded):
        check_limits(TABLE, 6)
