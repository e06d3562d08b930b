"""Views, byte orders and joined sources read as numpy and plain slices do, in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_theta import views
from git_theta.errors import CheckpointError
from git_theta.formats.overlay import Overlay
from git_theta.joined import Joined
from git_theta.source import BytesSource, Source, Window
from git_theta.views import swapped, view_source

WIDTHS = {"U8": 1, "BF16": 2, "F32": 4, "F64": 8, "C64": 8, "C128": 16}


class Counting(Source):
    """Another source, and how much was read of it."""

    def __init__(self, inner: Source) -> None:
        self._inner, self.size = inner, inner.size
        self.reads = self.read_bytes = self.largest = 0

    def _read(self, offset: int, nbytes: int) -> bytes | memoryview:
        self.reads += 1
        self.read_bytes += nbytes
        self.largest = max(self.largest, nbytes)
        return self._inner.read(offset, nbytes)


def bytes_of(count: int) -> bytes:
    return np.random.default_rng(count).bytes(count)


def check_windows(source: Source, expected: bytes, data: st.DataObject) -> None:
    """Compare all of a source, and random windows of it."""
    assert source.size == len(expected)
    assert bytes(source.read(0, source.size)) == expected
    for _ in range(4):
        low, high = sorted(data.draw(st.tuples(*[st.integers(0, len(expected))] * 2)))
        assert bytes(source.read(low, high - low)) == expected[low:high]
        assert bytes(source.window(low, high - low).read(0, high - low)) == expected[low:high]


@given(
    st.sampled_from(sorted(WIDTHS)),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), max_size=4),
    st.integers(0, 20),
    st.sampled_from([16, 64, 300, 2**20]),
    st.data(),
)
def test_strided_view_reads_as_numpy_does(
    dtype: str, dims: list[tuple[int, int]], offset: int, span: int, data: st.DataObject
) -> None:
    width = WIDTHS[dtype]
    shape = tuple(n for n, _ in dims)
    strides = tuple(s for _, s in dims)
    last = sum(max(0, n - 1) * s for n, s in dims)
    raw = bytes_of((offset + last + 1) * width)
    elements = np.frombuffer(raw, f"V{width}")[offset:]
    steps = [step * width for step in strides]
    expected = np.lib.stride_tricks.as_strided(elements, shape, steps).tobytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "SPAN", span)
        patch.setattr(views, "HELD", 4 * span)
        patch.setattr(views, "CHEAP", span // 4)
        check_windows(view_source(BytesSource(raw), dtype, shape, offset, strides), expected, data)


@pytest.mark.parametrize("axes", [(1, 0, 2), (2, 1, 0), (0, 2, 1), (2, 0, 1)])
def test_big_transposed_view_is_read_in_small_pieces(
    axes: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "SPAN", 2**12)
    array = np.arange(32 * 24 * 20, dtype="<f4").reshape(32, 24, 20)
    view = array.transpose(axes)
    buffer = Counting(BytesSource(array.tobytes()))
    strides = tuple(step // 4 for step in view.strides)
    source = view_source(buffer, "F32", view.shape, 0, strides)
    read = b"".join(bytes(block) for block in source.blocks(5000))
    assert read == view.tobytes()
    assert buffer.largest <= 2**12


@pytest.mark.parametrize("shape", [(256, 256), (16, 16, 256), (2, 128, 256)])
def test_transposed_view_is_not_read_number_by_number(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "SPAN", 2**14)
    monkeypatch.setattr(views, "HELD", 2**16)
    monkeypatch.setattr(views, "CHEAP", 2**11)
    array = np.arange(256 * 256, dtype="<f4").reshape(shape[::-1]).transpose()
    buffer = Counting(BytesSource(array.tobytes("F")))
    strides = tuple(step // 4 for step in array.strides)
    source = view_source(buffer, "F32", array.shape, 0, strides)
    assert b"".join(bytes(block) for block in source.blocks(2**13)) == array.tobytes()
    assert buffer.reads < 1000  # of 65,536 numbers
    assert buffer.read_bytes < 10 * buffer.size


def test_one_column_of_a_wide_matrix_is_read_without_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(views, "SPAN", 2**12)
    array = np.arange(400 * 1000, dtype="<i8").reshape(400, 1000)
    buffer = Counting(BytesSource(array.tobytes()))
    source = view_source(buffer, "I64", (400,), 7, (1000,))
    assert bytes(source.read(0, source.size)) == array[:, 7].tobytes()
    assert buffer.read_bytes < 2**14


def test_broadcast_view_repeats_its_elements() -> None:
    source = view_source(BytesSource(bytes_of(12)), "F32", (3, 1000), 0, (1, 0))
    expected = np.frombuffer(bytes_of(12), "<u4").repeat(1000).tobytes()
    assert bytes(source.read(0, source.size)) == expected


def test_view_without_strides_is_a_window() -> None:
    buffer = BytesSource(bytes_of(64))
    assert bytes(view_source(buffer, "F32", (2, 3), 5, None).read(0, 24)) == bytes_of(64)[20:44]
    assert view_source(buffer, "F32", (0, 3), 99, None).size == 0
    assert view_source(buffer, "F32", (3, 0), 99, (5, 5)).size == 0
    assert bytes(view_source(buffer, "F4", (6,), 4, None).read(0, 3)) == bytes_of(64)[2:5]


@given(st.sampled_from(sorted(WIDTHS)), st.integers(0, 40), st.data())
def test_swapped_numbers_are_those_of_the_other_byte_order(
    dtype: str, count: int, data: st.DataObject
) -> None:
    raw = bytes_of(count * 16)
    scalar = {"C64": 4, "C128": 8}.get(dtype, WIDTHS[dtype])
    expected = np.frombuffer(raw, f">u{scalar}").astype(f"<u{scalar}").tobytes()
    check_windows(swapped(BytesSource(raw), dtype), expected, data)
    assert bytes(swapped(swapped(BytesSource(raw), dtype), dtype).read(0, len(raw))) == raw


@given(st.lists(st.integers(0, 30), max_size=8), st.data())
def test_joined_sources_read_as_one(sizes: list[int], data: st.DataObject) -> None:
    raw = bytes_of(sum(sizes))
    whole, pieces, at = BytesSource(raw), [], 0
    for size in sizes:
        as_window = data.draw(st.booleans())
        pieces.append(whole.window(at, size) if as_window else BytesSource(raw[at : at + size]))
        at += size
    check_windows(Joined(pieces), raw, data)


@given(st.integers(0, 40), st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9))), st.data())
def test_overlay_replaces_bytes_and_nothing_else(
    size: int, places: list[tuple[int, int]], data: st.DataObject
) -> None:
    raw, expected, end = bytes_of(size), bytearray(bytes_of(size)), 0
    patches: dict[int, Source] = {}
    for start, length in sorted(places):
        if start < end or start + length > size or start in patches:
            continue
        new = bytes_of(1000 + start)[:length]
        patches[start] = BytesSource(new)
        expected[start : start + length] = new
        end = start + length
    check_windows(Overlay(BytesSource(raw), patches), bytes(expected), data)


@pytest.mark.parametrize("places", [{-1: 2}, {9: 2}, {0: 3, 2: 1}, {99: 1}])
def test_overlay_outside_its_base_is_refused(places: dict[int, int]) -> None:
    with pytest.raises(CheckpointError):
        Overlay(BytesSource(bytes(10)), {at: BytesSource(bytes(n)) for at, n in places.items()})


def test_window_of_a_window_reads_the_outermost_source() -> None:
    source = BytesSource(bytes_of(100))
    inner = source.window(10, 80).window(20, 50).window(5, 6)
    assert isinstance(inner, Window)
    assert inner._parent is source
    assert bytes(inner.read(1, 4)) == bytes_of(100)[36:40]
