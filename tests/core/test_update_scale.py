"""The scale update: vectors are found, multiplied the same everywhere, and refused when hostile."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta.dtypes import BITS, SCALAR
from git_theta.errors import PackError
from git_theta.serializers.planes import Planes
from git_theta.source import BytesSource, Source
from git_theta.testing.memory import at_most
from git_theta.updates.elementwise import MANTISSA, narrowed, widened
from git_theta.updates.interface import Numbers, Part, Update
from git_theta.updates.residual import word, word_name
from git_theta.updates.scale import Scale, told
from git_theta.updates.scaled import expanded

SCALE = Scale()
Array = np.ndarray[Any, Any]
NARROW = ["BF16", "F16", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"]


def numbers(data: bytes, dtype: str, shape: tuple[int, ...] = ()) -> Numbers:
    return Numbers(BytesSource(data), dtype, shape or (len(data) * 8 // BITS[dtype],))


def kind(dtype: str) -> str:
    return "<f8" if SCALAR.get(dtype, dtype) == "F64" else "<f4"


def layer(dtype: str, shape: tuple[int, ...], *, seed: int = 0) -> bytes:
    """Weights of a dtype, large enough for 8 bits."""
    deviation = 1 if dtype.startswith("F8") else 0.03
    values = np.random.default_rng(seed).normal(0, deviation, math.prod(shape))
    return narrowed(values.astype(kind(dtype)), dtype)[0].tobytes()


def times(base: bytes, dtype: str, shape: tuple[int, ...], vector: Array, axis: int) -> bytes:
    """What multiplying along an axis makes, by NumPy's own rules."""
    along = vector.reshape([-1 if at == axis else 1 for at in range(len(shape))])
    values = widened(np.frombuffer(base, word(dtype)), dtype).reshape(shape) * along
    return narrowed(values.ravel(), dtype)[0].tobytes()


def factors(count: int, dtype: str, *, short: str = "") -> Array:
    """Factors near 1; ``short``: ones that are numbers of that dtype."""
    made = np.random.default_rng(3).normal(1, 0.1, count).astype(kind(dtype))
    return widened(narrowed(made, short)[0], short).astype(made.dtype) if short else made


def restored(update: Update, base: bytes, dtype: str) -> bytes:
    source = SCALE.decode(update, [BytesSource(base)], dtype, len(base))
    return bytes(source.read(0, source.size))


def missed(update: Update) -> float:
    """The share of the numbers that the products miss."""
    if len(update.parts) == 1:
        return 0.0
    data = update.parts[1].data
    return float((np.frombuffer(data.read(0, data.size), np.uint8) > 0).mean())


# ---- vectors that are found ----------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("short", ["", "BF16"])
@pytest.mark.parametrize("dtype", ["F32", "F64"])
def test_scaled_rows_and_columns_are_found_exactly(dtype: str, short: str, axis: int) -> None:
    shape = (150, 260)
    base, vector = layer(dtype, shape), factors(shape[axis], dtype, short=short)
    new = times(base, dtype, shape, vector, axis)
    update = SCALE.encode(numbers(new, dtype, shape), [numbers(base, dtype, shape)])
    assert update is not None
    assert [part.dtype for part in update.parts] == [dtype]
    assert bytes(update.parts[0].data.read(0, vector.nbytes)) == vector.tobytes()
    assert restored(update, base, dtype) == new


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("short", ["", "own"])
@pytest.mark.parametrize("dtype", NARROW)
def test_narrow_numbers_miss_next_to_nothing(dtype: str, short: str, axis: int) -> None:
    shape = (150, 260)
    short = short and ("F16" if dtype == "F16" else "BF16")
    base, vector = layer(dtype, shape), factors(shape[axis], dtype, short=short)
    new = times(base, dtype, shape, vector, axis)
    update = SCALE.encode(numbers(new, dtype, shape), [numbers(base, dtype, shape)])
    assert update is not None
    assert missed(update) < 0.001
    assert restored(update, base, dtype) == new
    if short == dtype:  # in 8 bits, many factors are the same
        found = np.frombuffer(update.parts[0].data.read(0, vector.nbytes), vector.dtype)
        assert (found == vector).mean() > 0.95


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_any_axis_of_a_convolution_is_found(dtype: str, axis: int) -> None:
    shape = (40, 32, 3, 5)
    base = layer(dtype, shape)
    new = times(base, dtype, shape, factors(shape[axis], dtype), axis)
    update = SCALE.encode(numbers(new, dtype, shape), [numbers(base, dtype, shape)])
    assert update is not None
    assert update.parts[0].data.size == 4 * shape[axis]
    assert missed(update) < 0.001
    assert restored(update, base, dtype) == new


@pytest.mark.parametrize("shape", [(9000,), (90, 100)])
@pytest.mark.parametrize("dtype", ["F32", "BF16", "F64"])
def test_one_factor_for_all_is_one_number(dtype: str, shape: tuple[int, ...]) -> None:
    base = layer(dtype, shape)
    new = times(base, dtype, shape, np.full(shape[-1], 0.8125, kind(dtype)), len(shape) - 1)
    update = SCALE.encode(numbers(new, dtype, shape), [numbers(base, dtype, shape)])
    assert update is not None
    assert [part.data.size for part in update.parts] == [8 if dtype == "F64" else 4]
    assert restored(update, base, dtype) == new


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
@pytest.mark.parametrize("factor", [-0.5, 0.0, 3.0e5])
def test_negative_zero_and_large_factors_are_found(dtype: str, factor: float) -> None:
    shape = (200, 300)
    base, vector = layer(dtype, shape), factors(300, dtype)
    vector[::7] = factor
    new = times(base, dtype, shape, vector, 1)
    update = SCALE.encode(numbers(new, dtype, shape), [numbers(base, dtype, shape)])
    assert update is not None
    assert missed(update) < 0.001
    assert restored(update, base, dtype) == new


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_numbers_that_changed_otherwise_are_a_residual(dtype: str) -> None:
    shape = (200, 300)
    base = layer(dtype, shape)
    new = np.frombuffer(times(base, dtype, shape, factors(300, dtype), 1), word(dtype)).copy()
    new[np.random.default_rng(1).random(new.size) < 0.01] ^= 0x7F
    new[::1000] = 0x7FC1
    update = SCALE.encode(numbers(new.tobytes(), dtype, shape), [numbers(base, dtype, shape)])
    assert update is not None
    assert [part.dtype for part in update.parts] == ["F32", word_name(dtype)]
    assert missed(update) < 0.02
    assert restored(update, base, dtype) == new.tobytes()


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F64", "F8_E4M3", "I32", "BOOL", "F4"])
def test_other_numbers_are_refused(dtype: str) -> None:
    rng, shape = np.random.default_rng(3), (64, 128)
    new, base = (numbers(rng.bytes(64 * 16 * BITS[dtype]), dtype, shape) for _ in range(2))
    assert SCALE.estimate(new, [base]) == new.data.size
    assert SCALE.encode(new, [base]) is None


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16"])
def test_small_steps_and_equal_numbers_are_left_to_the_delta(dtype: str) -> None:
    shape = (128, 300)
    base = layer(dtype, shape)
    steps = np.random.default_rng(5).normal(0, 1e-4, 128 * 300).astype("<f4")
    near = narrowed(widened(np.frombuffer(base, word(dtype)), dtype) + steps, dtype)[0].tobytes()
    for new in (near, base):
        pair = numbers(new, dtype, shape), [numbers(base, dtype, shape)]
        assert SCALE.estimate(*pair) == len(new)
        assert SCALE.encode(*pair) is None


def test_a_base_of_another_length_is_refused() -> None:
    new = numbers(layer("F32", (64, 128)), "F32", (64, 128))
    base = numbers(layer("F32", (65, 128)), "F32", (65, 128))
    assert SCALE.encode(new, [base]) is None


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16"])
@pytest.mark.parametrize("noise", [0, 0.01])
def test_guesses_are_near_what_is_stored(dtype: str, noise: float, axis: int) -> None:
    shape = (600, 700)
    base, rng = layer(dtype, shape), np.random.default_rng(2)
    new = np.frombuffer(
        times(base, dtype, shape, factors(shape[axis], dtype), axis), word(dtype)
    ).copy()
    new[rng.random(new.size) < noise] ^= 5
    pair = numbers(new.tobytes(), dtype, shape), [numbers(base, dtype, shape)]
    update = SCALE.encode(*pair)
    assert update is not None
    stored = sum(
        len(Planes().encode(bytes(part.data.read(0, part.data.size)), part.dtype))
        for part in update.parts
    )
    assert abs(SCALE.estimate(*pair) - stored) < max(0.5 * stored, 0.03 * new.nbytes)


class Repeated(Source):
    """A block of bytes again and again: long, and little to hold."""

    def __init__(self, block: bytes, size: int) -> None:
        self._block, self.size = block, size

    def _read(self, offset: int, nbytes: int) -> bytes:
        at = offset % len(self._block)
        times = (at + nbytes) // len(self._block) + 1
        return (self._block * times)[at : at + nbytes]


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
@pytest.mark.parametrize("shape", [(64, 2**18), (2**18, 64)])
def test_long_rows_and_columns_are_found_in_little_memory(
    dtype: str, shape: tuple[int, int]
) -> None:
    width = shape[1]
    base = layer(dtype, (2**18 // width, width))
    new = times(base, dtype, (2**18 // width, width), factors(width, dtype), 1)
    nbytes = math.prod(shape) * len(base) // 2**18
    one, other = (Numbers(Repeated(data, nbytes), dtype, shape) for data in (new, base))
    with at_most(64 * 2**20, "an update of a long matrix"):
        update = SCALE.encode(one, [other])
        assert update is not None
        decoded = SCALE.decode(update, [other.data], dtype, nbytes)
        assert all(a == b for a, b in zip(decoded.blocks(), one.data.blocks(), strict=True))


# ---- exactness -----------------------------------------------------------------------------------

FLOATS = [*sorted(MANTISSA), "C64", "C32", "C128"]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FLOATS), st.integers(0, 2), st.booleans(), st.randoms())
def test_any_bits_come_back(dtype: str, axis: int, noise: bool, choose: Any) -> None:
    """NaNs with payloads, infinities, -0.0 and subnormal numbers, in both buffers."""
    shape, scalar = (4, 3, 10), SCALAR.get(dtype, dtype)
    width = word(dtype).itemsize
    total = math.prod(shape) * BITS[dtype] // BITS[scalar]
    special = [choose.randbytes(width) for _ in range(3)]
    special += [bytes(width), bytes(width - 1) + b"\x80", b"\1" + bytes(width - 1)]
    special += [b"\0" * (width - 1) + bytes([top]) for top in (0x7F, 0x7C, 0xFF)]
    base = b"".join(choose.choice(special) for _ in range(total))
    with np.errstate(all="ignore"):
        values = widened(np.frombuffer(base, word(dtype)), scalar) * np.float32(1.5)
    new = choose.randbytes(len(base)) if noise else narrowed(values, scalar)[0].tobytes()
    given_vector = told(np.full(shape[axis], 1.5), axis, numbers(base, dtype, shape))
    predicted = restored(given_vector, base, dtype)
    assert len(predicted) == len(base)
    update = SCALE.encode(numbers(new, dtype, shape), [numbers(base, dtype, shape)])
    if update is not None:
        assert restored(update, base, dtype) == new


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(finite, finite)
def test_a_product_is_rounded_to_the_nearest(one: float, factor: float) -> None:
    base = np.array([one], "<f4")
    update = told(np.array([factor]), 0, numbers(base.tobytes(), "F32"))
    found = np.frombuffer(restored(update, base.tobytes(), "F32"), "<f4")[0]
    exact = Fraction(one) * Fraction(factor)
    if abs(exact) < Fraction(2) ** 127:
        error = abs(Fraction(float(found)) - exact)
        for side in (-np.inf, np.inf):
            beside = Fraction(float(np.nextafter(found, np.float32(side))))
            assert error <= abs(beside - exact)


@pytest.mark.parametrize("dtype", sorted(MANTISSA))
def test_what_is_not_finite_is_the_bases_number(dtype: str) -> None:
    words = word(dtype)
    top = (1 << (8 * words.itemsize - 1)) - 1
    base = np.array([top, top - 1, 1 << (8 * words.itemsize - 1)], words)
    huge = told(np.array([3e38]), 0, numbers(base.tobytes(), dtype))
    values = widened(base, dtype)
    found = np.frombuffer(restored(huge, base.tobytes(), dtype), words)
    with np.errstate(all="ignore"):
        made, kept = narrowed(values * values.dtype.type(np.float32(3e38)), dtype)
    assert np.array_equal(found, np.where(kept, made, base))
    assert not kept[0]


@given(st.integers(1, 7), st.integers(1, 9), st.integers(0, 200), st.integers(1, 90))
def test_expanded_entries_are_those_of_each_number(
    length: int, run: int, first: int, count: int
) -> None:
    vector = np.arange(length)
    expected = [at // run % length for at in range(first, first + count)]
    assert np.broadcast_to(expanded(vector, run, first, count), count).tolist() == expected


# ---- given vectors -------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("dtype", ["F32", "BF16", "F8_E4M3", "F64", "C64"])
def test_a_given_vector_is_multiplied_along_its_axis(dtype: str, axis: int) -> None:
    shape, scalar = (5, 6, 7), SCALAR.get(dtype, dtype)
    whole = (*shape, 2) if dtype == "C64" else shape
    base, vector = layer(scalar, whole), factors(shape[axis], scalar)
    update = told(vector.astype("<f8"), axis, numbers(base, dtype, shape))
    assert restored(update, base, dtype) == times(base, scalar, whole, vector, axis)


@pytest.mark.parametrize(("shape", "axis"), [((), -1), ((1,), 0), ((3, 4), 1)])
def test_a_given_number_multiplies_all(shape: tuple[int, ...], axis: int) -> None:
    base = np.arange(math.prod(shape), dtype="<f4") + 1
    update = told(np.array([1.5]), axis, Numbers(BytesSource(base.tobytes()), "F32", shape))
    assert restored(update, base.tobytes(), "F32") == (base * np.float32(1.5)).tobytes()


@pytest.mark.parametrize(
    ("vector", "axis", "dtype", "expected"),
    [
        (np.ones(3), 1, "F32", "Expected 4 finite factors"),
        (np.ones(4), 2, "F32", "Expected 1 finite factors"),
        (np.full(4, 1e39), 1, "F32", "Expected 4 finite factors"),
        (np.full(4, np.nan), 1, "F32", "Expected 4 finite factors"),
        (np.ones(4), 1, "I32", "Expected floats to multiply"),
    ],
)
def test_given_vectors_that_do_not_fit_are_refused(
    vector: Array, axis: int, dtype: str, expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        told(vector, axis, numbers(bytes(48), dtype, (3, 4)))


# ---- hostile updates -----------------------------------------------------------------------------


@pytest.mark.parametrize("run", [0, 2, 5, 12, 2**40, 2**64 - 1])
def test_runs_that_do_not_fill_the_numbers_are_refused(run: int) -> None:
    update = told(np.arange(1.0, 5.0), 1, numbers(bytes(48), "F32", (3, 4)))
    with pytest.raises(PackError, match="Expected 4 runs"):
        restored(update._replace(params=run.to_bytes(8, "little")), bytes(48), "F32")


@pytest.mark.parametrize("params", [b"", b"\1", bytes(7), b"\1" + bytes(8)])
def test_params_of_another_length_are_refused(params: bytes) -> None:
    update = told(np.arange(1.0, 5.0), 1, numbers(bytes(48), "F32", (3, 4)))
    with pytest.raises(PackError, match="Expected 8 bytes of params"):
        restored(update._replace(params=params), bytes(48), "F32")


@pytest.mark.parametrize("dtype", ["I32", "F4", "BOOL", "F8_E8M0"])
def test_numbers_that_are_no_floats_are_refused(dtype: str) -> None:
    update = told(np.arange(1.0, 5.0), 1, numbers(bytes(48), "F32", (3, 4)))
    with pytest.raises(PackError, match="Expected a base of floats"):
        restored(update, bytes(48), dtype)


def test_vectors_of_binary32_for_binary64_and_too_long_ones_are_refused() -> None:
    update = told(np.arange(1.0, 5.0), 1, numbers(bytes(48), "F32", (3, 4)))
    with pytest.raises(PackError, match="Expected parts"):
        restored(update, bytes(96), "F64")
    long = Update((Part("F32", Repeated(bytes(64), 2**25)),), (1).to_bytes(8, "little"))
    with pytest.raises(PackError, match="Expected 8 bytes of params"):
        SCALE.decode(long, [Repeated(bytes(64), 2**25)], "F32", 2**25)


def test_vectors_that_are_not_finite_leave_the_base() -> None:
    base = np.arange(1, 13, dtype="<f4")
    update = told(np.arange(1.0, 5.0), 1, numbers(base.tobytes(), "F32", (3, 4)))
    vector = np.array([1, np.nan, np.inf, -np.inf], "<f4")
    hostile = update._replace(parts=(Part("F32", BytesSource(vector.tobytes())),))
    assert restored(hostile, base.tobytes(), "F32") == base.tobytes()
