"""The recipe update: formulas are found, computed the same everywhere, and refused when hostile."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta.dtypes import BITS, SCALAR
from git_theta.errors import PackError
from git_theta.source import BytesSource
from git_theta.updates.elementwise import MANTISSA, narrowed, widened
from git_theta.updates.interface import Numbers, Update
from git_theta.updates.program import MAX_STACK, MAX_STEPS, Op, Program, Step, evaluate, parse
from git_theta.updates.recipe import Recipe, told
from git_theta.updates.residual import word

RECIPE = Recipe()
A, B, C = (Step(Op.BASE, number) for number in range(3))
ADD, SUBTRACT, MULTIPLY, DIVIDE = map(Step, (Op.ADD, Op.SUBTRACT, Op.MULTIPLY, Op.DIVIDE))
Floats = np.ndarray[Any, Any]


def numbers(data: bytes, dtype: str) -> Numbers:
    return Numbers(BytesSource(data), dtype, (len(data) * 8 // BITS[dtype],))


def bits_of(values: Floats, dtype: str) -> bytes:
    return narrowed(values.astype("<f8" if dtype == "F64" else "<f4"), dtype)[0].tobytes()


def versions(dtype: str, count: int = 4, length: int = 5000) -> list[Floats]:
    """Versions of one group, as exact values."""
    rng = np.random.default_rng(7)
    first = rng.normal(0, 0.03, length)
    made = [first, *(first + rng.normal(0, 0.003, length) for _ in range(count - 1))]
    words = [np.frombuffer(bits_of(one, dtype), word(dtype)) for one in made]
    return [widened(one, dtype) for one in words]


def encoded(new: bytes, bases: Sequence[bytes], dtype: str) -> Update | None:
    return RECIPE.encode(numbers(new, dtype), [numbers(base, dtype) for base in bases])


def restored(update: Update, bases: Sequence[bytes], dtype: str, nbytes: int) -> bytes:
    used = [BytesSource(bases[number]) for number in update.uses or range(len(bases))]
    source = RECIPE.decode(update, used, dtype, nbytes)
    return bytes(source.read(0, source.size))


# ---- formulas that are found ---------------------------------------------------------------------

F = np.float32
PLAIN: dict[str, Callable[..., Floats]] = {
    "average": lambda a, b, c, d: (a + b) / F(2),
    "average of three": lambda a, b, c, d: ((a + b) + c) / F(3),
    "average in another order": lambda a, b, c, d: ((b + d) + a) / F(3),
    "average of all": lambda a, b, c, d: (((a + b) + c) + d) / F(4),
    "average by products": lambda a, b, c, d: ((a + b) + c) * F(1 / 3),
    "interpolation": lambda a, b, c, d: F(0.35) * b + F(0.65) * d,
    "thirds": lambda a, b, c, d: a * F(1 / 3) + c * F(2 / 3),
    "moved": lambda a, b, c, d: a + F(0.3) * (b - a),
    "extrapolated": lambda a, b, c, d: a + F(1.5) * (b - a),
    "task": lambda a, b, c, d: a + (b - c),
    "scaled task": lambda a, b, c, d: d + F(0.4) * (b - c),
    "opposite task": lambda a, b, c, d: d - F(0.4) * (b - c),
    "two tasks": lambda a, b, c, d: (a + F(0.3) * (b - a)) + F(0.3) * (c - a),
    "sum of tasks": lambda a, b, c, d: a + F(0.3) * ((b - a) + (c - a)),
    "weighted": lambda a, b, c, d: (F(0.5) * a + F(0.3) * b) + F(0.2) * c,
    "difference": lambda a, b, c, d: b - c,
    "negation": lambda a, b, c, d: -a,
    "half": lambda a, b, c, d: a * F(0.5),
}


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16"])
@pytest.mark.parametrize("what", PLAIN)
def test_what_binary32_computes_and_rounds_once_is_found(what: str, dtype: str) -> None:
    bases = versions(dtype)
    new = bits_of(PLAIN[what](*bases), dtype)
    update = encoded(new, [bits_of(base, dtype) for base in bases], dtype)
    assert update is not None
    assert [part.dtype for part in update.parts] == ["U8"]
    assert restored(update, [bits_of(base, dtype) for base in bases], dtype, len(new)) == new


def test_formulas_in_binary64_are_found() -> None:
    a, b, c, d = versions("F64")
    bases = [one.tobytes() for one in (a, b, c, d)]
    for new in ((a + b) / 2, 0.3 * a + 0.7 * d, a + 0.4 * (b - c), (a + b + c) / 3):
        update = encoded(new.tobytes(), bases, "F64")
        assert update is not None
        assert len(update.parts) == 1
        assert restored(update, bases, "F64", new.nbytes) == new.tobytes()


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16"])
def test_what_torch_computes_is_found(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    kind = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}[dtype]
    bases = versions(dtype)
    a, b, c, d = (torch.from_numpy(base.copy()).to(kind) for base in bases)
    made = {
        "mean": torch.stack([a, b, c]).mean(0),
        "sum": (a + b + c) / 3,
        "weighted": 0.3 * a + 0.7 * d,
        "moved": torch.lerp(a, b, 0.3),
        "moved further": torch.lerp(a, b, 0.75),
        "task": a + 0.4 * (b - c),
        "fused task": torch.add(a, b - c, alpha=0.4),
    }
    for what, result in made.items():
        new = bits_of(result.float().numpy(), dtype)
        update = encoded(new, [bits_of(base, dtype) for base in bases], dtype)
        assert update is not None, what
        assert len(update.parts) == 1, what


def test_accumulating_in_one_operation_is_found() -> None:
    torch = pytest.importorskip("torch")
    a, b, *_ = versions("F32")
    new = torch.add(0.7 * torch.from_numpy(a.copy()), torch.from_numpy(b.copy()), alpha=0.3)
    bases = [bits_of(a, "F32"), bits_of(b, "F32")]
    update = encoded(bits_of(new.numpy(), "F32"), bases, "F32")
    assert update is not None
    assert len(update.parts) == 1


def test_fewest_bases_are_used() -> None:
    a, b, *_ = bases = versions("F32")
    data = [bits_of(one, "F32") for one in (*bases, a, b)]
    update = encoded(bits_of((a + b) / F(2), "F32"), data, "F32")
    assert update is not None
    assert update.uses is not None
    assert len(update.uses) == 2


@pytest.mark.parametrize("dtype", ["F32", "I64", "BOOL", "F4", "C64"])
def test_first_rows_of_a_base_are_a_copy(dtype: str) -> None:
    base, other = np.random.default_rng(0).bytes(9600), np.random.default_rng(1).bytes(9600)
    update = encoded(base[:4800], [other, base], dtype)
    assert update is not None
    assert update.uses == (1,)
    assert [part.data.size for part in update.parts] == [3]
    assert restored(update, [other, base], dtype, 4800) == base[:4800]


def test_average_with_a_longer_base_takes_its_first_rows() -> None:
    a, b, *_ = versions("F32")
    longer = bits_of(np.concatenate((b, a)), "F32")
    update = encoded(bits_of((a + b) / F(2), "F32"), [bits_of(a, "F32"), longer], "F32")
    assert update is not None
    assert len(update.parts) == 1


def test_bases_that_are_too_short_are_not_used() -> None:
    a, b, *_ = versions("F32")
    bases = [bits_of(a, "F32"), bits_of(b, "F32")[:-4]]
    assert encoded(bits_of((a + b) / F(2), "F32"), bases, "F32") is None


def test_what_a_formula_misses_is_a_residual() -> None:
    a, b, *_ = versions("F32")
    words = np.frombuffer(bits_of((a + b) / F(2), "F32"), "<u4").copy()
    words[::500] ^= 0x7FC12345
    bases = [bits_of(a, "F32"), bits_of(b, "F32")]
    update = encoded(words.tobytes(), bases, "F32")
    assert update is not None
    assert [part.dtype for part in update.parts] == ["U8", "U32"]
    assert restored(update, bases, "F32", words.nbytes) == words.tobytes()


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F64", "U8"])
def test_other_numbers_are_not_told(dtype: str) -> None:
    rng = np.random.default_rng(3)
    new, *bases = (rng.bytes(8000) for _ in range(4))
    assert encoded(new, bases, dtype) is None
    guess = RECIPE.estimate(numbers(new, dtype), [numbers(base, dtype) for base in bases])
    assert guess == 8000


def test_small_steps_are_left_to_the_delta() -> None:
    rng = np.random.default_rng(3)
    for dtype, step in (("F32", 1e-4), ("BF16", 1e-5)):
        bases = versions(dtype)
        new = bits_of(bases[0] + rng.normal(0, step, 5000), dtype)
        data = [bits_of(base, dtype) for base in bases]
        assert encoded(new, data, dtype) is None


def test_a_formula_is_guessed_to_cost_its_own_bytes() -> None:
    a, b, *_ = versions("F32")
    new, bases = bits_of((a + b) / F(2), "F32"), [bits_of(a, "F32"), bits_of(b, "F32")]
    guess = RECIPE.estimate(numbers(new, "F32"), [numbers(base, "F32") for base in bases])
    assert guess < 40


# ---- exactness -----------------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.builds(Step, st.just(Op.BASE), st.integers(0, 1)),
        st.builds(Step, st.just(Op.CONSTANT), st.floats(width=32)),
        st.sampled_from([Step(op) for op in Op if op > Op.CONSTANT]),
    ),
    max_size=12,
)


def complete(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps that have what they work on, and additions until one number is left."""
    kept, height = [A], 1
    for step in steps:
        needs = {Op.BASE: 0, Op.CONSTANT: 0, Op.NEGATE: 1, Op.ROUND: 1}.get(step.op, 2)
        if needs <= height and (needs or height < MAX_STACK):
            kept.append(step)
            height += (needs == 0) - (needs == 2)
    return (*kept, *[ADD] * (height - 1))


@settings(max_examples=150, deadline=None)
@given(STEPS, st.booleans(), st.sampled_from([*sorted(MANTISSA), "C64", "C32"]), st.randoms())
def test_any_bits_come_back_through_any_formula(
    steps: Sequence[Step], wide: bool, dtype: str, choose: Any
) -> None:
    scalar = SCALAR.get(dtype, dtype)
    program = Program(complete(steps), wide or scalar == "F64")
    new, *bases = (choose.randbytes(480) for _ in range(3))
    assert parse(program.to_bytes(), 2).to_bytes() == program.to_bytes()
    update = told(BytesSource(new), [BytesSource(base) for base in bases], dtype, program)
    assert restored(update, bases, dtype, 480) == new


finite = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=True)


def nearest(value: Fraction) -> float:
    """A rational number as binary32, to even in the middle, by arithmetic on integers."""
    if not value:
        return 0.0
    exponent = -150
    while abs(value) >= Fraction(2) ** (exponent + 25):
        exponent += 1
    exponent = max(exponent + 1, -149)
    return float(round(value / Fraction(2) ** exponent) * Fraction(2) ** exponent)


@given(finite, finite, finite)
def test_each_operation_is_rounded_to_nearest(a: float, b: float, c: float) -> None:
    big = Fraction(2) ** 128 - Fraction(2) ** 103
    rows = [np.array([x], "<f4") for x in (a, b, c)]
    for step, exact in (
        (ADD, Fraction(a) + Fraction(b)),
        (SUBTRACT, Fraction(a) - Fraction(b)),
        (MULTIPLY, Fraction(a) * Fraction(b)),
        (DIVIDE, Fraction(a) / Fraction(b) if b else None),
    ):
        if exact is not None and abs(exact) < big:
            assert evaluate(Program((A, B, step)), rows, "F32")[0] == nearest(exact)


def test_what_is_not_finite_is_the_first_bases_number() -> None:
    nan, inf, big, one = 0x7FA12345, 0x7F800000, 0x7F7FFFFF, 0x3F800000
    first = np.array([nan, inf, big, one], "<u4").tobytes()
    second = np.array([one, one, big, inf], "<u4").tobytes()
    update = told(
        BytesSource(first), [BytesSource(first), BytesSource(second)], "F32", Program((A, B, ADD))
    )
    assert len(update.parts) == 1


def test_a_step_that_rounds_rounds_to_the_dtype() -> None:
    a, b = np.array([1.0], "<f4"), np.array([2.0**-9], "<f4")
    rounding = Program((A, B, ADD, Step(Op.ROUND), B, ADD))
    assert evaluate(rounding, [a, b], "BF16")[0] == 1 + 2.0**-9
    assert evaluate(rounding, [a, b], "F32")[0] == 1 + 2.0**-8
    too_large = np.array([70000.0], "<f4")
    assert np.isnan(evaluate(Program((A, Step(Op.ROUND))), [too_large], "F16")[0])


# ---- hostile formulas ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\2\0\0",
        b"\0\0",
        b"\0\0\2",
        b"\0\1\0\0",
        b"\0\x08",
        b"\0\2",
        b"\0\0\0\2",
        b"\0\6",
        b"\0\0\0\0\1",
        b"\0" + b"\0\0" * (MAX_STACK + 1) + b"\2" * MAX_STACK,
        b"\0\0\0" + b"\6" * MAX_STEPS,
        b"\1\1" + struct.pack("<f", 1),
        bytes(10_000),
    ],
)
def test_formulas_that_are_not_well_formed_are_refused(data: bytes) -> None:
    with pytest.raises(PackError, match="Expected"):
        parse(data, 2)


def test_formulas_for_integers_other_than_copies_are_refused() -> None:
    source = BytesSource(bytes(64))
    with pytest.raises(PackError, match="Expected a formula for I32"):
        told(source, [source], "I32", Program((A, A, ADD)))
    with pytest.raises(PackError, match="Expected a formula for F64"):
        told(source, [source], "F64", Program((A, A, ADD)))
