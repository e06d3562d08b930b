"""Merged adapters are found by their rank, and nothing else makes a low-rank update fail."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from synthetic_merges import merged, to_bytes

from git_theta.serializers.planes import Planes
from git_theta.source import BytesSource
from git_theta.updates.elementwise import widened
from git_theta.updates.interface import Numbers, Update
from git_theta.updates.low_rank import LowRank, from_factors

LOW_RANK = LowRank()


def numbers(data: bytes, dtype: str, shape: tuple[int, ...]) -> Numbers:
    return Numbers(BytesSource(data), dtype, shape)


def encoded(new: bytes, base: bytes, dtype: str, shape: tuple[int, ...]) -> Update | None:
    return LOW_RANK.encode(numbers(new, dtype, shape), [numbers(base, dtype, shape)])


def decoded(update: Update, base: bytes, dtype: str) -> bytes:
    source = LOW_RANK.decode(update, [BytesSource(base)], dtype, len(base))
    return bytes(source.read(0, source.size))


def stored(update: Update) -> int:
    planes = Planes()
    parts = [(bytes(part.data.read(0, part.data.size)), part.dtype) for part in update.parts]
    return sum(min(len(data), len(planes.encode(data, dtype))) for data, dtype in parts)


@pytest.mark.parametrize(("dtype", "share"), [("F32", 0.08), ("BF16", 0.13), ("F16", 0.13)])
@pytest.mark.parametrize("shape", [(384, 384), (384, 1536), (1536, 384)])
def test_the_rank_of_an_adapter_is_found(dtype: str, share: float, shape: tuple[int, int]) -> None:
    new, base = merged(dtype, *shape, 8)
    update = encoded(new, base, dtype, shape)
    assert update is not None
    assert struct.unpack("<IHB", update.params)[:2] == (shape[1], 8)
    assert decoded(update, base, dtype) == new
    assert stored(update) < share * len(new)
    guess = LOW_RANK.estimate(numbers(new, dtype, shape), [numbers(base, dtype, shape)])
    assert stored(update) / 3 < guess < 3 * stored(update)


@pytest.mark.parametrize("dtype", ["F32", "F64", "BF16", "F16", "F8_E4M3", "F8_E5M2"])
def test_a_difference_of_full_rank_is_left_alone(dtype: str) -> None:
    new, base = merged(dtype, 64, 72, 2, seed=1)[0], merged(dtype, 64, 72, 2)[1]
    assert encoded(new, base, dtype, (64, 72)) is None
    guess = LOW_RANK.estimate(numbers(new, dtype, (64, 72)), [numbers(base, dtype, (64, 72))])
    assert guess >= len(new)


@pytest.mark.parametrize("dtype", ["F32", "F64", "BF16", "F16", "F8_E5M2", "F8_E4M3FNUZ"])
def test_numbers_of_all_kinds_come_back(dtype: str) -> None:
    """NaNs with payloads, infinities, negative zeros and subnormal numbers, in both."""
    shape = (64, 80)
    new, base = merged(dtype, *shape, 2, size=30)
    width = len(new) // 5120
    words = [np.frombuffer(data, f"<u{width}").copy() for data in (new, base)]
    sign = 1 << (8 * width - 1)
    kinds = [0, sign, 1, sign | 1, sign - 1, 2 * sign - 1, sign - 2, sign - (sign >> 7)]
    for at, bits in enumerate(kinds):
        words[0][at * 97 :: 1009] = bits
        words[1][at * 89 + 3 :: 997] = bits
    new, base = (array.tobytes() for array in words)
    update = encoded(new, base, dtype, shape)
    assert update is None or decoded(update, base, dtype) == new


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16", "F8_E4M3"])
@pytest.mark.parametrize("fill", [0x00, 0x01, 0x7F, 0x80, 0xFF])
def test_numbers_of_one_kind_are_no_trouble(dtype: str, fill: int) -> None:
    new = merged(dtype, 32, 40, 1, size=30)[0]
    for one, other in ((new, bytes([fill]) * len(new)), (bytes([fill]) * len(new), new)):
        update = encoded(one, other, dtype, (32, 40))
        assert update is None or decoded(update, other, dtype) == one
        LOW_RANK.estimate(numbers(one, dtype, (32, 40)), [numbers(other, dtype, (32, 40))])


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        ("F32", ()),
        ("F32", (0, 8)),
        ("F32", (40,)),
        ("F32", (2, 500)),
        ("C64", (32, 32)),
        ("I64", (32, 32)),
        ("BOOL", (32, 32)),
        ("F4", (32, 32)),
    ],
)
def test_what_is_no_matrix_of_floats_is_left_alone(dtype: str, shape: tuple[int, ...]) -> None:
    width = {"F32": 4, "C64": 8, "I64": 8, "BOOL": 1, "F4": 0.5}[dtype]
    data = bytes(int(np.prod(shape) * width))
    assert encoded(data, data, dtype, shape) is None
    assert LOW_RANK.estimate(numbers(data, dtype, shape), [numbers(data, dtype, shape)]) >= 0


def test_no_difference_needs_no_factors() -> None:
    base = merged("F32", 32, 32, 1)[1]
    assert encoded(base, base, "F32", (32, 32)) is None


@pytest.mark.parametrize("dtype", ["F32", "F64", "BF16", "F16"])
def test_given_factors_define_the_numbers(dtype: str) -> None:
    shape = (48, 7, 9)
    base = merged(dtype, 48, 63, 1)[1]
    rng = np.random.default_rng(0)
    left, right = rng.normal(0, 1e-3, (48, 3)), rng.normal(0, 10, (3, 63))
    update = from_factors(numbers(base, dtype, shape), left, right)
    assert update is not None
    assert len(update.parts) == 2
    again = from_factors(numbers(base, dtype, shape), left, right)
    assert again is not None
    assert decoded(update, base, dtype) == decoded(again, base, dtype) != base


def test_factors_that_do_not_fit_define_nothing() -> None:
    base = numbers(merged("F32", 8, 9, 1)[1], "F32", (8, 9))
    left, right = np.ones((8, 2)), np.ones((2, 9))
    assert from_factors(base, left, right) is not None
    assert from_factors(base, left[:7], right) is None
    assert from_factors(base, left, right[:1]) is None
    assert from_factors(base, 0 * left, right) is None
    assert from_factors(base._replace(dtype="I32"), left, right) is None
    assert from_factors(base._replace(shape=(72,)), left, right) is None
    assert from_factors(base, 1e300 * left, 1e300 * right) is None


@pytest.mark.parametrize("step", [2, 3])
def test_rows_of_two_kinds_in_turn_are_told_as_well_as_in_any_order(step: int) -> None:
    rows, columns, rank = 768, 1024, 16
    rng = np.random.default_rng(1)
    values = rng.normal(0, 0.05, (rows, columns))
    values[::step] /= 30  # so rounding leaves less noise in them
    product = rng.normal(0, 0.01, (rows, rank)) @ rng.normal(0, 0.02, (rank, columns))
    found = []
    for order in (np.arange(rows), rng.permutation(rows)):
        base = to_bytes(values[order], "BF16")
        rounded = widened(np.frombuffer(base, "<u2"), "BF16").astype("<f8").reshape(rows, columns)
        new = to_bytes(rounded + product[order], "BF16")
        update = encoded(new, base, "BF16", (rows, columns))
        assert update is not None
        found.append(stored(update))
    assert found[0] < 1.1 * found[1]
