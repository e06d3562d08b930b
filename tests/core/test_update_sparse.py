"""The sparse update: what it stores, what it refuses, and how well it guesses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta.dtypes import BITS
from git_theta.errors import PackError
from git_theta.serializers.planes import Planes
from git_theta.source import BytesSource
from git_theta.testing.blocks import weights
from git_theta.updates import changes, sparse
from git_theta.updates.interface import Numbers, Part, Update
from git_theta.updates.residual import word
from git_theta.updates.sparse import Sparse, told

SPARSE = Sparse()


def numbers(data: bytes, dtype: str = "F32") -> Numbers:
    return Numbers(BytesSource(data), dtype, (len(data) * 8 // BITS[dtype],))


def restored(update: Update, base: bytes, nbytes: int, dtype: str = "F32") -> bytes:
    source = SPARSE.decode(update, [BytesSource(base)], dtype, nbytes)
    return bytes(source.read(0, source.size))


def stored(update: Update) -> int:
    parts = ((bytes(part.data.read(0, part.data.size)), part.dtype) for part in update.parts)
    return sum(min(len(data), len(Planes().encode(data, dtype))) for data, dtype in parts)


def changed(base: bytes, share: float, dtype: str = "F32") -> bytes:
    """The base with a share of its numbers a little larger."""
    rng = np.random.default_rng(0)
    words = np.frombuffer(base, word(dtype)).copy()
    where = rng.random(len(words)) < share
    words[where] += rng.integers(1, 200, int(where.sum()), words.dtype)
    return words.tobytes()


# ---- what is stored ------------------------------------------------------------------------------


def test_one_change_is_a_count_a_gap_and_a_value() -> None:
    base = np.arange(70_000, dtype="<u2")
    new = base.copy()
    new[65_536 + 300] += 5
    update = SPARSE.encode(numbers(new.tobytes(), "U16"), [numbers(base.tobytes(), "U16")])
    assert update is not None
    parts = [(part.dtype, bytes(part.data.read(0, part.data.size))) for part in update.parts]
    counts, gap = np.array([0, 1], "<u4").tobytes(), np.array([300], "<u2").tobytes()
    assert parts[:2] == [("U32", counts), ("U16", gap)]
    difference, value = np.array([10], "<u2").tobytes(), new[65_836:65_837].tobytes()
    expected = difference if update.params == sparse.DIFFERENCES else value
    assert parts[2:] == [("U16", expected)]


def test_small_steps_are_told_as_differences_and_replaced_numbers_as_values() -> None:
    base = np.frombuffer(weights("F32", 400_000), "<u4")
    near, other = base.copy(), base.copy()
    near[::50] += 3
    other[::50] = np.float32(0.5).view("<u4")
    for new, params in ((near, sparse.DIFFERENCES), (other, sparse.VALUES)):
        update = SPARSE.encode(numbers(new.tobytes()), [numbers(base.tobytes())])
        assert update is not None
        assert update.params == params


def test_nothing_is_told_where_more_than_one_number_in_eight_changed() -> None:
    base = weights("F32", 400_000)
    assert SPARSE.encode(numbers(changed(base, 0.2)), [numbers(base)]) is None


def test_changes_that_are_not_held_are_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    base = weights("BF16", 2**21)
    new = changed(base, 0.01, "BF16")
    held = SPARSE.encode(numbers(new, "BF16"), [numbers(base, "BF16")])
    monkeypatch.setattr(changes, "HELD", 0)
    lazy = SPARSE.encode(numbers(new, "BF16"), [numbers(base, "BF16")])
    assert held is not None
    assert lazy is not None
    for one, other in zip(held.parts, lazy.parts, strict=True):
        assert list(one.data.blocks(1001)) == list(other.data.blocks(1001))
    assert restored(lazy, base, len(new), "BF16") == new


ENTRIES = st.lists(st.tuples(st.integers(0, 999), st.integers(0, 255)), max_size=60)


@settings(max_examples=60, deadline=None)
@given(dtype=st.sampled_from(sorted(BITS)), entries=ENTRIES, cut=st.integers(-20, 20))
def test_any_change_of_any_dtype_comes_back(
    dtype: str, entries: Sequence[tuple[int, int]], cut: int
) -> None:
    base = np.random.default_rng(1).bytes(48 * 1000)
    new = bytearray(base)
    for at, byte in entries:
        new[48 * at] = byte
    longer = bytes(new[: 48 * cut]) if cut < 0 else bytes(new) + base[: 48 * cut]
    update = SPARSE.encode(numbers(longer, dtype), [numbers(base, dtype)])
    assert update is not None
    assert restored(update, base, len(longer), dtype) == longer


# ---- given positions -----------------------------------------------------------------------------


@given(st.dictionaries(st.integers(0, 199_999), st.integers(0, 65_535), max_size=50))
def test_given_positions_are_set(entries: dict[int, int]) -> None:
    base = np.zeros(200_000, "<u2")
    where = np.array(sorted(entries), np.int64)
    values = np.array([entries[at] for at in sorted(entries)], "<u2")
    expected = base.copy()
    expected[where] = values
    update = told(where, values, "BF16", base.nbytes)
    assert restored(update, base.tobytes(), base.nbytes, "BF16") == expected.tobytes()


@pytest.mark.parametrize("where", [[1, 1], [3, 2], [-1, 2], [2, 1000]])
def test_positions_that_are_not_ascending_or_beyond_the_end_are_refused(where: list[int]) -> None:
    with pytest.raises(ValueError, match="Expected ascending positions below 1000, found others"):
        told(np.array(where), np.zeros(2, "<u4"), "F32", 4000)


def test_values_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected as many uint32 as positions"):
        told(np.array([1]), np.zeros(1, "<u2"), "F32", 4000)


# ---- hostile updates -----------------------------------------------------------------------------


def hostile(counts: Sequence[int], gaps: Sequence[int]) -> Update:
    made: Any = ((counts, "<u4", "U32"), (gaps, "<u2", "U16"), ([7] * len(gaps), "<u4", "F32"))
    parts = [Part(name, BytesSource(np.array(data, kind).tobytes())) for data, kind, name in made]
    return Update(tuple(parts), sparse.VALUES)


@pytest.mark.parametrize(
    ("counts", "gaps"),
    [([2, 0], [65_535, 0]), ([0, 1], [100]), ([2, 0], [1]), ([2**32 - 1, 2**32 - 1], [1, 1])],
)
def test_positions_outside_their_block_are_refused(counts: list[int], gaps: list[int]) -> None:
    base = bytes(4 * (2**16 + 100))
    with pytest.raises(PackError, match="Expected"):
        restored(hostile(counts, gaps), base, len(base))


# ---- guesses -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["F32", "BF16", "I64"])
@pytest.mark.parametrize("share", [0.001, 0.01, 0.05])
def test_guesses_are_near_what_is_stored(dtype: str, share: float) -> None:
    base = weights(dtype, 2**21)
    new = numbers(changed(base, share, dtype), dtype)
    update = SPARSE.encode(new, [numbers(base, dtype)])
    assert update is not None
    guess = SPARSE.estimate(new, [numbers(base, dtype)])
    assert 0.6 < guess / stored(update) < 1.6


def test_appended_rows_are_guessed_to_cost_themselves() -> None:
    base, more = weights("F32", 2**20), weights("F32", 2**20, seed=1)
    guess = SPARSE.estimate(numbers(base + more), [numbers(base)])
    assert 0.7 * len(more) < guess < len(more)


def test_other_numbers_are_guessed_not_to_pay() -> None:
    base, other = weights("F32", 2**20), weights("F32", 2**20, seed=1)
    assert SPARSE.estimate(numbers(other), [numbers(base)]) == len(other)
    assert SPARSE.estimate(numbers(b""), [numbers(base)]) == 0
