"""The cast update: real casts leave nothing, any bits come back, nonsense is refused."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_theta.dtypes import BITS
from git_theta.errors import PackError
from git_theta.source import BytesSource
from git_theta.updates.cast import Cast
from git_theta.updates.interface import Numbers, Update

DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "BF16": "bfloat16",
    "F16": "float16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}
"""torch's names."""
PAIRS = list(permutations(DTYPES, 2))


def numbers(data: bytes, dtype: str) -> Numbers:
    return Numbers(BytesSource(data), dtype, (len(data) * 8 // BITS[dtype],))


def encoded(new: bytes, dtype: str, base: bytes, wide: str) -> Update:
    update = Cast().encode(numbers(new, dtype), [numbers(base, wide)])
    assert update is not None
    return update


def decoded(update: Update, base: bytes, dtype: str, nbytes: int) -> bytes:
    source = Cast().decode(update, [BytesSource(base)], dtype, nbytes)
    return bytes(source.read(0, nbytes))


@pytest.mark.parametrize(("wide", "dtype"), PAIRS)
def test_a_cast_by_torch_leaves_nothing(wide: str, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    values = torch.from_numpy(np.random.default_rng(0).normal(0, 0.05, 5000))
    there = values.to(getattr(torch, DTYPES[wide]))
    base, new = (
        bytes(tensor.view(torch.uint8).numpy())
        for tensor in (there, there.to(getattr(torch, DTYPES[dtype])))
    )
    update = encoded(new, dtype, base, wide)
    assert not any(update.parts[0].data.read(0, len(new)))
    assert decoded(update, base, dtype, len(new)) == new
    guess = Cast().estimate(numbers(new, dtype), [numbers(base, wide)])
    assert guess < len(new) / 20


@given(st.sampled_from(PAIRS), st.integers(1, 40), st.data())
def test_any_bits_come_back(pair: tuple[str, str], count: int, data: st.DataObject) -> None:
    wide, dtype = pair
    base, new = (
        data.draw(st.binary(min_size=n, max_size=n))
        for n in (count * BITS[wide] // 8, count * BITS[dtype] // 8)
    )
    assert decoded(encoded(new, dtype, base, wide), base, dtype, len(new)) == new


def test_pairs_of_numbers_are_cast_to_pairs() -> None:
    base = np.random.default_rng(0).normal(0, 1, (500, 2)).astype("<f8")
    new = base.astype("<f4").tobytes()
    update = encoded(new, "C64", base.tobytes(), "C128")
    assert not any(update.parts[0].data.read(0, len(new)))


@pytest.mark.parametrize(
    ("dtype", "wide", "count"),
    [
        ("F32", "F32", 8),
        ("I16", "F32", 8),
        ("BF16", "I32", 8),
        ("BF16", "F32", 9),
        ("F32", "C64", 4),
    ],
)
def test_other_numbers_are_not_cast(dtype: str, wide: str, count: int) -> None:
    new, base = bytes(8 * BITS[dtype] // 8), bytes(count * BITS[wide] // 8)
    assert Cast().encode(numbers(new, dtype), [numbers(base, wide)]) is None
    assert Cast().estimate(numbers(new, dtype), [numbers(base, wide)]) >= len(new)


@pytest.mark.parametrize("params", [b"", b"F33", b"F64", b"BF16", b"I32", b"F32\0", b"\xff"])
def test_a_dtype_that_the_base_does_not_have_is_refused(params: bytes) -> None:
    update = encoded(bytes(16), "BF16", bytes(32), "F32")
    with pytest.raises(PackError, match="Expected one base and the dtype"):
        decoded(Update(update.parts, params), bytes(32), "BF16", 16)
