"""Widening and narrowing of floats, against every number of 8 and 16 bits and other libraries."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_theta.updates.elementwise import MANTISSA, narrow_into, narrowed, widened
from git_theta.updates.residual import word

NARROW = sorted(set(MANTISSA) - {"F32", "F64"})
TORCH = {
    "BF16": "bfloat16",
    "F16": "float16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}


def every(dtype: str) -> np.ndarray:
    width = 2 if dtype in ("BF16", "F16") else 1
    return np.arange(256**width).astype(f"<u{width}")


def one(value: float, dtype: str) -> tuple[int, bool]:
    bits, finite = narrowed(np.array([value], "<f4"), dtype)
    return int(bits[0]), bool(finite[0])


@pytest.mark.parametrize("dtype", NARROW)
def test_every_number_is_widened_as_torch_does(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    numbers = every(dtype)
    theirs = torch.from_numpy(numbers.copy()).view(getattr(torch, TORCH[dtype])).float().numpy()
    ours = widened(numbers, dtype)
    finite = np.isfinite(ours)
    assert np.array_equal(np.isfinite(theirs), finite)
    assert np.array_equal(ours[finite].view("<u4"), theirs[finite].view("<u4"))


@pytest.mark.parametrize("dtype", NARROW)
def test_every_number_comes_back(dtype: str) -> None:
    numbers = every(dtype)
    values = widened(numbers, dtype)
    back, finite = narrowed(values, dtype)
    assert np.array_equal(finite, np.isfinite(values))
    assert np.array_equal(back[finite], numbers[finite])


def between(dtype: str) -> np.ndarray:
    """All numbers, the middles between neighbours, and what lies next to these."""
    values = widened(every(dtype), dtype)
    values = np.unique(values[np.isfinite(values)])
    middles = ((values[1:].astype("<f8") + values[:-1]) / 2).astype("<f4")
    exact = np.concatenate((values, middles))
    near = [np.nextafter(exact, np.float32(side)) for side in (-np.inf, np.inf)]
    return np.concatenate((exact, *near))


@pytest.mark.parametrize("dtype", NARROW)
def test_middles_and_their_neighbours_are_narrowed_as_torch_does(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    values = between(dtype)
    cast = torch.from_numpy(values).to(getattr(torch, TORCH[dtype]))
    theirs, known = cast.view(torch.uint8 if "F8" in dtype else torch.uint16).numpy(), cast.float()
    ours, finite = narrowed(values, dtype)
    saturated = known.abs().numpy() < np.abs(values)
    assert np.array_equal(ours[finite], theirs[finite])
    assert (~np.isfinite(known.numpy()) | saturated)[~finite].all()


@pytest.mark.parametrize("dtype", NARROW)
def test_random_words_are_narrowed_as_torch_does(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    words = np.random.default_rng(0).integers(0, 2**32, 2**20, np.uint32)
    values = words.view("<f4")
    cast = torch.from_numpy(values.copy()).to(getattr(torch, TORCH[dtype]))
    theirs = cast.view(torch.uint8 if "F8" in dtype else torch.uint16).numpy()
    ours, finite = narrowed(values, dtype)
    assert np.array_equal(ours[finite], theirs[finite])
    assert finite[np.abs(values) < 100].all()


@given(st.sampled_from(NARROW), st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_narrowing_is_to_the_nearest_and_to_even_in_the_middle(dtype: str, value: float) -> None:
    bits, finite = one(value, dtype)
    values = widened(every(dtype), dtype)
    candidates = [k for k in np.flatnonzero(np.isfinite(values)) if (k == 0) or values[k] != 0]
    distances = {
        int(k): abs(Fraction(float(values[k])) - Fraction(value))
        for k in nearby(values, candidates, value)
    }
    nearest = min(distances.values())
    if finite:
        rounded = Fraction(float(values[bits]))
        assert abs(rounded - Fraction(value)) == nearest
        ties = {float(values[k]) for k, distance in distances.items() if distance == nearest}
        assert len(ties) == 1 or bits % 2 == 0
        assert math.copysign(1, float(values[bits])) == math.copysign(1, value) or rounded == 0
    else:
        largest = Fraction(float(values[np.isfinite(values)].max()))
        assert abs(Fraction(value)) > largest


def nearby(values: np.ndarray, candidates: list[int], value: float) -> list[int]:
    """Of the candidates, the four whose values are nearest."""
    gaps = np.abs(values[candidates].astype("<f8") - value)
    return [candidates[k] for k in np.argsort(gaps, kind="stable")[:4]]


@pytest.mark.parametrize("dtype", sorted(MANTISSA))
def test_infinity_and_nan_are_not_finite(dtype: str) -> None:
    values = np.array([np.inf, -np.inf, np.nan, 1.0], "<f8" if dtype == "F64" else "<f4")
    assert narrowed(values, dtype)[1].tolist() == [False, False, False, True]


def test_binary64_is_rounded_to_binary32() -> None:
    bits, finite = narrowed(np.array([0.1, 1e300, -0.0], "<f8"), "F32")
    assert finite.tolist() == [True, False, True]
    assert bits[[0, 2]].tolist() == [0x3DCCCCCD, 0x80000000]


@pytest.mark.parametrize("dtype", sorted(MANTISSA))
def test_narrowing_into_others_gives_the_same_whether_all_is_finite_or_not(dtype: str) -> None:
    kinds = ("<f8",) if dtype == "F64" else ("<f4", "<f8")
    width = word(dtype)
    otherwise = np.arange(64).astype(width)
    edges = [0x7F7F7FFF, 0x7F7F8000, 0x7F7FFFFF, 0x7F800000, 0x7FFFFFFF, 0xFF7F7FFF, 1, 0x80000000]
    samples = [np.random.default_rng(seed).standard_normal(64) for seed in range(4)]
    samples += [np.append(samples[0][:63], np.array(edge, "<u4").view("<f4")) for edge in edges]
    samples += [
        np.append(samples[0][:63], value) for value in (3.5e38, -1e300, 3.4028235677973366e38)
    ]
    for sample in samples:
        for kind in kinds:
            with np.errstate(over="ignore"):
                values = sample.astype(kind)
            out = np.zeros(64, width)
            narrow_into(out, values, otherwise, dtype)
            bits, finite = narrowed(values, dtype)
            assert np.array_equal(out, np.where(finite, bits, otherwise))
