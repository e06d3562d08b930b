"""Bytes that no format knows are cut by content, the same way whatever window they are read in."""

from __future__ import annotations

import random

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta import chunks
from git_theta.chunks import LARGEST, SMALLEST, WHOLE, Chunk, cut, read_entries
from git_theta.errors import LimitExceeded, MetadataError
from git_theta.source import BytesSource

MIB = 2**20
NOISE = random.Random(7).randbytes(5 * MIB)


def rebuild(data: bytes) -> tuple[int, list[Chunk]]:
    """Cut bytes, put them together again from what is stored; how often they were cut, and how."""
    skeleton, stored = cut(BytesSource(data))
    held = {chunk.identity: chunk.data for chunk in stored}
    for chunk in stored:
        assert blake3(bytes(chunk.data.read(0, chunk.data.size))).digest() == chunk.digest
    assert (stored[-1].digest, stored[-1].data.size) == skeleton[:2]
    level = bytes(stored[-1].data.read(0, skeleton.nbytes))
    for _ in range(skeleton.cuts):
        entries = list(read_entries(BytesSource(level), "x"))
        assert [held[identity].size for identity, _ in entries] == [n for _, n in entries]
        level = b"".join(bytes(held[i].read(0, n)) for i, n in entries)
    assert level == data
    return skeleton.cuts, stored


@pytest.mark.parametrize("size", [12, 1000, WHOLE])
def test_what_is_short_is_not_cut(size: int) -> None:
    cuts, (chunk,) = rebuild(NOISE[:size])
    assert cuts == 0
    assert chunk.data.size == size


@pytest.mark.parametrize("size", [WHOLE + 1, 5 * MIB])
def test_what_is_long_is_cut_once(size: int) -> None:
    cuts, stored = rebuild(NOISE[:size])
    assert cuts == 1
    sizes = [chunk.data.size for chunk in stored[:-1]]
    assert sum(sizes) == size
    assert max(sizes) <= LARGEST
    assert min(sizes[:-1]) >= SMALLEST
    assert size / len(sizes) > 2**15


def test_equal_bytes_are_cut_into_equal_chunks() -> None:
    cuts, stored = rebuild(bytes(3 * MIB))
    assert cuts == 1
    assert len({chunk.digest for chunk in stored}) == 2


def test_a_long_list_is_cut_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "WHOLE", 2**15)
    monkeypatch.setattr(chunks, "AVERAGE", 2**8)
    monkeypatch.setattr(chunks, "SMALLEST", 2**6)
    monkeypatch.setattr(chunks, "LARGEST", 2**10)
    cuts, _ = rebuild(NOISE[:MIB])
    assert cuts == 2


@settings(max_examples=15)
@given(st.integers(2 * LARGEST, 3 * MIB), st.integers(0, 2 * MIB), st.integers(MIB + 1, 3 * MIB))
def test_cuts_do_not_depend_on_the_window(window: int, start: int, size: int) -> None:
    data = NOISE[start : start + size]
    _, expected = cut(BytesSource(data))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "_WINDOW", window)
        _, found = cut(BytesSource(data))
    assert [chunk.digest for chunk in found] == [chunk.digest for chunk in expected]


@settings(max_examples=15)
@given(st.integers(0, 5 * MIB), st.integers(0, 5000), st.integers(0, 5000))
def test_most_chunks_survive_an_edit(at: int, removed: int, inserted: int) -> None:
    before = {chunk.digest for chunk in cut(BytesSource(NOISE))[1]}
    edited = NOISE[:at] + random.Random(at).randbytes(inserted) + NOISE[at + removed :]
    after = {chunk.digest for chunk in cut(BytesSource(edited))[1]}
    assert len(after - before) <= 5  # the list among them


def test_more_chunks_than_a_list_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "MAX_LIST", 36 * 20)
    with pytest.raises(LimitExceeded, match="at most 20 chunks"):
        cut(BytesSource(NOISE))


@pytest.mark.parametrize("length", [0, LARGEST + 1, 2**32 - 1])
def test_list_of_impossible_chunks_is_refused(length: int) -> None:
    good, bad = (bytes(32) + n.to_bytes(4, "little") for n in (LARGEST, length))
    assert next(read_entries(BytesSource(good), "x"))[1] == LARGEST
    for entries in (bad, good + bad, good + bytes(35), good[:-1]):
        with pytest.raises(MetadataError, match="x: a list"):
            list(read_entries(BytesSource(entries), "x"))
