"""What is compiled gives the same bits as numpy does without it, of any numbers."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from git_theta import compiled
from git_theta.cli import doctor
from git_theta.serializers import planes
from git_theta.source import BytesSource
from git_theta.updates import changes, elementwise, factors, matrix, residual, sharpen, sparse

pytestmark = pytest.mark.skipif(not compiled.kernels, reason="installed without a compiler")

USERS = (planes, changes, elementwise, factors, matrix, residual, sharpen, sparse)
SPECIAL = {
    "BF16": [0, 0x8000, 1, 0x7F7F, 0xFF7F, 0x7F80, 0xFF80, 0x7FC0, 0xFFFF, 0x7F81, 0x0080],
    "F32": [0, 2**31, 1, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFFFFFFF, 0x7F800001],
}
SIZES = st.integers(0, 300) | st.sampled_from([511, 512, 4096, 70_001])


def both(call: Callable[[], Any]) -> tuple[Any, Any]:
    """What a call gives with what is compiled, and without it."""
    fast = call()
    with pytest.MonkeyPatch.context() as patch:
        for user in USERS:
            patch.setattr(user, "kernels", None)
        return fast, call()


def bits(seed: int, count: int, dtype: str, *, special: float = 0.02) -> NDArray[Any]:
    """Numbers around zero, some of them anything."""
    random = np.random.default_rng(seed)
    values = (random.standard_normal(count) * 0.02).astype("<f4").view("<u4")
    found = (values >> 16).astype("<u2") if dtype == "BF16" else values
    where = random.random(count) < special
    found[where] = random.choice(np.array(SPECIAL[dtype], found.dtype), int(where.sum()))
    return found


def words(seed: int, count: int, width: int) -> NDArray[Any]:
    """Any words."""
    return np.frombuffer(np.random.default_rng(seed).bytes(count * width), f"<u{width}")


@given(st.integers(0, 2**32), SIZES, st.sampled_from(["BF16", "F16", "F32", "F64", "U16", "I64"]))
def test_planes(seed: int, count: int, dtype: str) -> None:
    width = residual.word(dtype).itemsize
    block = words(seed, count, width).tobytes()

    def split_and_join() -> tuple[list[bytes], bytes]:
        found = planes._split(block, dtype, width)
        return [bytes(plane) for plane in found], bytes(planes._join(found, dtype, width))

    fast, slow = both(split_and_join)
    assert fast == slow
    assert fast[1] == block


@given(
    st.integers(0, 2**32),
    SIZES,
    st.sampled_from(["BF16", "F16", "F32", "F64", "C64", "F8_E4M3", "U8", "I32"]),
    st.booleans(),
)
def test_residuals(seed: int, count: int, dtype: str, near: bool) -> None:
    width = residual.word(dtype).itemsize
    predicted = words(seed, count, width)
    new = predicted.copy()
    new[::3] += new.dtype.type(1)
    if not near:
        new = words(seed + 1, count, width)

    def there_and_back() -> tuple[bytes, bytes]:
        def predict(first: int, some: int) -> Any:
            return predicted[first : first + some]

        source = BytesSource(new.tobytes())
        missed = residual.Residual(source, dtype, predict)
        stored = BytesSource(missed.read(0, missed.size))
        restored = residual.Restored(stored, dtype, new.nbytes, predict)
        return bytes(stored.read(0, stored.size)), bytes(restored.read(0, restored.size))

    fast, slow = both(there_and_back)
    assert fast == slow
    assert fast[1] == new.tobytes()


@settings(deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(1, 40),
    st.integers(1, 400),
    st.integers(1, 64),
    st.sampled_from([("BF16", "SINGLE"), ("BF16", "DOUBLE"), ("F32", "DOUBLE")]),
    st.data(),
)
def test_low_rank_predictions(
    seed: int, rows: int, columns: int, rank: int, kind: tuple[str, str], data: st.DataObject
) -> None:
    dtype, arithmetic = kind[0], getattr(factors, kind[1])
    random = np.random.default_rng(seed)
    high = 2**6 if kind[1] == "SINGLE" else 2**14
    some = factors.Factors(
        random.integers(-high, high, (rows, rank)).astype(arithmetic.integer),
        random.integers(-high, high, (rank, columns)).astype(arithmetic.integer),
        random.integers(-20, 2, rows).astype("<i2"),
        random.integers(-20, 2, columns).astype("<i2"),
        arithmetic,
    ).check()
    reals = some.reals()
    base = bits(seed, rows * columns, dtype)
    first = data.draw(st.integers(0, base.size - 1))
    count = data.draw(st.integers(1, base.size - first))
    predict = factors.predictor(lambda: reals, BytesSource(base.tobytes()), dtype)
    fast, slow = both(lambda: predict(first, count))
    assert fast.tobytes() == slow.tobytes()


@given(
    st.integers(0, 2**32),
    SIZES.filter(bool),
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from([1, 7, 100]),
)
def test_where_numbers_differ(seed: int, count: int, width: int, every: int) -> None:
    base = words(seed, count, width)
    new = base.copy()
    new[::every] ^= new.dtype.type(1)
    dtype = f"U{8 * width}"

    def told_and_made() -> tuple[list[bytes], list[bytes]]:
        found = changes.Changes.found(
            *map(BytesSource, (new.tobytes(), base.tobytes())), dtype, most=1
        )
        assert found is not None
        told = [found.counts.tobytes()]
        told += [bytes(x.read(0, x.size)) for x in (found.gaps(), found.values())]
        made = []
        for differ, parts in ((True, found.differences()), (False, found.values())):
            sources = (found.gaps(), parts)
            update = sparse._update(found.counts, sources, dtype, differ, BytesSource(b""))
            source = sparse.Sparse().decode(
                update, [BytesSource(base.tobytes())], dtype, new.nbytes
            )
            made.append(bytes(source.read(0, source.size)))
        return told, made

    fast, slow = both(told_and_made)
    assert fast == slow
    assert fast[1] == [new.tobytes()] * 2


@given(st.integers(0, 2**32), SIZES, st.sampled_from(["BF16", "F32"]))
def test_what_sharpens(seed: int, count: int, dtype: str) -> None:
    new, base = bits(seed, count, dtype), bits(seed + 1, count, dtype)
    fast, slow = both(lambda: matrix.subtract(new, base, dtype))
    assert (fast.dtype, fast.tobytes()) == (slow.dtype, slow.tobytes())
    weights, same = both(lambda: sharpen._weights(new, dtype, 0.001))
    assert weights.tobytes() == same.tobytes()


@given(
    st.integers(0, 2**32),
    st.integers(1, 20),
    st.integers(1, 200),
    st.integers(1, 40),
    st.sampled_from(["<f4", "<f8"]),
)
def test_what_factors_miss(seed: int, rows: int, columns: int, rank: int, real: str) -> None:
    """Sums of inexact products: equal up to rounding."""
    random = np.random.default_rng(seed)
    shapes = (rows, columns), (rows, rank), (rank, columns)
    arrays = [random.standard_normal(shape).astype(real) for shape in shapes]
    weights = random.random((rows, columns)).astype("<f4")
    fast, slow = both(lambda: sharpen._missed(*arrays, weights))
    assert fast.dtype == slow.dtype
    np.testing.assert_allclose(fast, slow, rtol=0, atol=1e-4 if real == "<f4" else 1e-12)


@given(st.integers(0, 2**32), SIZES)
def test_bf16(seed: int, count: int) -> None:
    some, otherwise = bits(seed, count, "BF16"), bits(seed + 1, count, "BF16")
    wide, same = both(lambda: elementwise.widened(some, "BF16"))
    assert wide.tobytes() == same.tobytes()
    values = words(seed, count, 4).view("<f4")

    def rounded() -> bytes:
        out = np.empty_like(otherwise)
        elementwise.narrow_into(out, values, otherwise, "BF16")
        return out.tobytes()

    fast, slow = both(rounded)
    assert fast == slow


def test_words_that_begin_anywhere() -> None:
    data = np.random.default_rng(0).bytes(2 * 1000 + 1)
    odd = np.frombuffer(data, "<u2", offset=1)
    assert not odd.flags.aligned
    assert compiled.kernels
    assert compiled.kernels.changes(odd, odd.copy())[1].size == 0
    assert compiled.kernels.split(odd, False)[1].tobytes() == data[2::2]


def test_sizes_that_do_not_fit() -> None:
    assert compiled.kernels
    one, other = np.zeros(8, "<u2"), np.zeros(9, "<u2")
    with pytest.raises(ValueError, match="sizes that fit"):
        compiled.kernels.changes(one, other)
    with pytest.raises(ValueError, match="sizes that fit"):
        compiled.kernels.missed(one, one, 7, 255, other)
    with pytest.raises(ValueError, match="sizes that fit"):
        compiled.kernels.join([one.view("u1"), other.view("u1")], True)
    with pytest.raises(ValueError, match="sizes that fit"):
        compiled.kernels.low_rank(
            np.zeros((2, 1), "<f4"), np.zeros((1, 4), "<f4"), one, "BF16", other
        )
    constant = np.frombuffer(bytes(16), "<u2")
    with pytest.raises(ValueError, match="sizes that fit"):
        compiled.kernels.round_bf16(np.ones(8, "<f4"), one, constant)
    with pytest.raises(ValueError, match="sizes that fit"):
        compiled.kernels.missed(one, one, 7, 255, constant)
    with pytest.raises(ValueError, match="sizes that fit"):
        compiled.kernels.widen_bf16(one.astype("<u4"))
    apart = np.zeros((4, 4), "<u2")[:, 0]
    with pytest.raises(ValueError, match="sizes that fit"):
        compiled.kernels.widen_bf16(apart)


@pytest.mark.parametrize(("rank", "columns"), [(65, 64), (64, 4097), (256, 4096), (0, 64)])
def test_long_factors_are_left_to_numpy(rank: int, columns: int) -> None:
    """Its BLAS is faster then, and what the kernels put together would not fit."""
    assert compiled.kernels
    left, right = np.zeros((4, rank)), np.zeros((rank, columns))
    base = np.zeros(4 * columns, "<u4")
    assert not compiled.kernels.multiplies(right, "F32")
    if not 0 < rank <= compiled.MOST_RANK:
        with pytest.raises(ValueError, match="sizes that fit"):
            compiled.kernels.low_rank(left, right, base, "F32", np.empty_like(base))


def test_integers_are_passed_as_they_are_taken() -> None:
    """A machine of 32 bits has other places for shorter ones on its stack."""
    source = Path(compiled.__file__).with_name("kernels.c").read_text()
    found = re.findall(r"\btheta_[\w#]+\(([^)]*)\)\s*(?:\\\s*)?\{", source)
    assert len(found) >= 15
    for parameters in found:
        for parameter in parameters.replace("\\", "").split(","):
            words = parameter.split()
            assert "*" in parameter or words in (["void"], ["int64_t", words[-1]]), parameter


LIBRARIES = list(dict.fromkeys(compiled._NAMES.values()))


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize(("dtype", "real"), [("BF16", "<f4"), ("BF16", "<f8"), ("F32", "<f8")])
def test_each_library_of_this_machine(name: str, dtype: str, real: str) -> None:
    """Also those for shorter vectors give the same."""
    assert compiled.kernels
    path = Path(compiled.__file__).parent / name
    if not path.exists() or LIBRARIES.index(name) > LIBRARIES.index(compiled.kernels.name):
        pytest.skip(f"this machine does not run {name}")
    random = np.random.default_rng(0)
    left = random.integers(-50, 50, (19, 63)).astype(real)
    right = random.integers(-50, 50, (63, 777)).astype(real) / 4096
    base = bits(1, 19 * 777, dtype)
    left[3] = 0
    base[3 * 777 : 4 * 777] = 1 << (8 * base.itemsize - 1)  # -0, which becomes 0
    results = []
    for some in (compiled.kernels, compiled.Kernels(ctypes.CDLL(str(path)), name)):
        out = np.empty_like(base)
        some.low_rank(left, right, base, dtype, out)
        assert not out[3 * 777 : 4 * 777].any()
        results.append(out.tobytes())
    assert results[0] == results[1]


def test_it_can_be_left_out() -> None:
    asked = "from git_theta import compiled; print(compiled.kernels)"
    environment = {**os.environ, "GIT_THETA_COMPILED": "0"}
    found = subprocess.run(
        [sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout == "None\n"


def test_doctor_says_why_nothing_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "kernels", None)
    monkeypatch.delenv("GIT_THETA_COMPILED", raising=False)
    (finding,) = doctor._compiled()
    assert finding.state == "note"
    monkeypatch.setenv("GIT_THETA_COMPILED", "0")
    (finding,) = doctor._compiled()
    assert (finding.state, finding.remedy) == ("ok", "")
