"""The arithmetic of low-rank updates is that of the specification, bit for bit, everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lowrank_reference
import numpy as np
import pytest
from synthetic_merges import merged

from git_theta.source import BytesSource
from git_theta.updates import factors as factors_module
from git_theta.updates.factors import DOUBLE, SINGLE, Arithmetic, Factors
from git_theta.updates.interface import Numbers, Part, Update
from git_theta.updates.low_rank import LowRank

FORMATS = lowrank_reference.FORMATS
ROWS, COLUMNS, RANK = 9, 31, 3


def kinds(dtype: str) -> tuple[Arithmetic, ...]:
    return (DOUBLE,) if dtype in ("F32", "F64") else (SINGLE, DOUBLE)


def special_base(dtype: str, rng: np.random.Generator) -> bytes:
    """Weights, among them both zeros, subnormal, infinite and huge numbers, and NaNs."""
    kind = FORMATS[dtype]
    words = rng.integers(0, 2**64, ROWS * COLUMNS, np.uint64) >> np.uint64(64 - kind.width)
    near = rng.integers(1, 40, ROWS * COLUMNS, np.uint64)
    words[::3] = (kind.bias - 4 << kind.mantissa) + near[::3]  # about 1/16
    sign = 1 << (kind.width - 1)
    edge = [0, sign, 1, sign | 1, kind.end - 1, sign | (kind.end - 1), kind.end, sign | kind.end]
    edge += [sign - 1, 2 * sign - 1, 1 << kind.mantissa, (1 << kind.mantissa) - 1]
    words[: len(edge)] = edge
    words[-len(edge) :] = edge
    return words.astype(f"<u{kind.width // 8}").tobytes()


def made_update(
    arithmetic: Arithmetic, scales: tuple[int, int], rng: np.random.Generator
) -> Update:
    """Factors that use the whole range, zeros among their products, and no residual."""
    top = 2 ** (arithmetic.digits // 2 - 1) // 2
    left = rng.integers(-top, top + 1, (ROWS, RANK)).astype(arithmetic.integer)
    right = rng.integers(-top, top + 1, (RANK, COLUMNS)).astype(arithmetic.integer)
    left[::4] = right[:, ::5] = 0
    shifts = np.concatenate([rng.integers(-3, 4, ROWS), rng.integers(-3, 4, COLUMNS)])
    shifts[:ROWS] += scales[0]
    shifts[ROWS:] += scales[1]
    entries = np.concatenate([left.reshape(-1), right.reshape(-1)])
    params = COLUMNS.to_bytes(4, "little") + bytes([RANK, 0, arithmetic.digits])
    parts = (
        Part("I16", BytesSource(shifts.astype("<i2").tobytes())),
        Part(arithmetic.dtype, BytesSource(entries.tobytes())),
    )
    return Update(parts, params)


def decoded(update: Update, base: bytes, dtype: str) -> bytes:
    source = LowRank().decode(update, [BytesSource(base)], dtype, len(base))
    return bytes(source.read(0, source.size))


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("size", ["near the base", "least", "greatest", "far below", "mixed"])
def test_a_decoder_of_integers_gives_the_same_bits(dtype: str, size: str) -> None:
    for arithmetic in kinds(dtype):
        rng = np.random.default_rng(len(size))
        least, greatest = arithmetic.exponents
        half = arithmetic.digits // 2
        scales = {
            "near the base": (-half, -half - 4),
            "least": (least + 3, least + 3),
            "greatest": (greatest - 3, greatest - 3),
            "far below": (-half - 8, -half - FORMATS[dtype].mantissa),
            "mixed": (-half, min(greatest - 3, FORMATS[dtype].bias // 2 - half)),
        }[size]
        base, update = special_base(dtype, rng), made_update(arithmetic, scales, rng)
        expected = lowrank_reference.decode(update, base, dtype)
        assert decoded(update, base, dtype) == expected, f"{dtype}, {arithmetic.digits} digits"


@pytest.mark.parametrize("dtype", FORMATS)
def test_a_decoder_of_integers_understands_what_is_encoded(dtype: str) -> None:
    new, base = merged(dtype, 96, 130, 2, size=30)
    numbers = [Numbers(BytesSource(data), dtype, (96, 130)) for data in (new, base)]
    update = LowRank().encode(numbers[0], numbers[1:])
    assert update is not None
    assert lowrank_reference.decode(update, base, dtype) == new


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16"])
def test_any_way_to_multiply_gives_the_same_bits(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, base = merged(dtype, 96, 80, 5)
    numbers = [Numbers(BytesSource(data), dtype, (96, 80)) for data in (new, base)]
    update = LowRank().encode(numbers[0], numbers[1:])
    assert update is not None

    def backwards(left: Any, right: Any, out: Any) -> None:
        """Sum the other way round, one product at a time."""
        out[:] = 0
        for k in reversed(range(left.shape[1])):
            out += left[:, k : k + 1] * right[k]

    assert decoded(update, base, dtype) == new
    monkeypatch.setattr(factors_module, "kernels", None)
    assert decoded(update, base, dtype) == new
    monkeypatch.setattr(np, "matmul", backwards)
    assert decoded(update, base, dtype) == new


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from blake3 import blake3
from synthetic_merges import merged
from test_low_rank_exact import big_update, decoded
for dtype in ("F32", "BF16"):
    base = merged(dtype, 256, 384, 1)[1]
    print(blake3(decoded(big_update(dtype), base, dtype)).hexdigest())
"""


def big_update(dtype: str) -> Update:
    """Factors that any seed gives alike: what is encoded may depend on threads, decoding not."""
    rng = np.random.default_rng(1)
    arithmetic = kinds(dtype)[0]
    top = 2 ** (arithmetic.digits // 2 - 2)
    entries = rng.integers(-top // 4, top // 4, (256 + 384) * 40).astype(arithmetic.integer)
    scales = np.full(256 + 384, -(arithmetic.digits // 2) - 2, "<i2")
    params = (384).to_bytes(4, "little") + bytes([40, 0, arithmetic.digits])
    return Update(
        (
            Part("I16", BytesSource(scales.tobytes())),
            Part(arithmetic.dtype, BytesSource(entries.tobytes())),
        ),
        params,
    )


def test_threads_of_the_blas_change_nothing() -> None:
    def run(threads: int, compiled: str = "0") -> str:
        env = {**os.environ, "OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
        env["GIT_THETA_COMPILED"] = compiled
        command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent)]
        return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout

    one = run(1)
    assert len(one.split()) == 2
    assert run(2) == one
    assert run(7) == one
    assert run(1, compiled="1") == one


def test_factors_whose_products_may_be_inexact_are_refused() -> None:
    entries = np.full((4, 4), 2**11 - 1, "<i2")
    scales = np.zeros(4, "<i2")
    Factors(entries, entries, scales, scales, SINGLE).check()
    more = entries.copy()
    more[0] += 3
    with pytest.raises(factors_module.PackError, match="products below"):
        Factors(more, entries, scales, scales, SINGLE).check()
    with pytest.raises(factors_module.PackError, match="scales from"):
        Factors(entries, entries, scales + 51, scales, SINGLE).check()
