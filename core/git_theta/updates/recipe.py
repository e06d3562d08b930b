"""The recipe update: numbers told by a formula over others that are stored already.

A merged model is an average, an interpolation, a task vector added: arithmetic that gives the same
bits everywhere, so the formula is stored in place of its result. What it misses is a residual.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from git_theta.dtypes import SCALAR
from git_theta.errors import PackError
from git_theta.source import BytesSource, Source
from git_theta.updates.elementwise import MANTISSA, STEP, narrow_into, widened
from git_theta.updates.fit import MOST_BASES, Guess, guesses
from git_theta.updates.formulas import programs
from git_theta.updates.interface import Numbers, Part, Update, UpdateType, check_parts
from git_theta.updates.program import LONGEST, Op, Program, Step, evaluate, parse
from git_theta.updates.residual import (
    Bits,
    Predict,
    Predicted,
    Residual,
    Restored,
    read_words,
    word,
    word_name,
    zigzag,
)
from git_theta.updates.sampling import windows

MOST_TRIED = 200
"""Formulas that are tried on a sample at most."""
WORTH = 0.1
"""Bits that a formula may miss, as a share of all."""

_FIRST = 2048  # numbers of the window in which a formula is looked for
_SAMPLE = 1024  # numbers of each window in which it is tried again
_COPY = Program((Step(Op.BASE, 0),))

_last = threading.local()  # what was found last, for the thread that asked


class Found(NamedTuple):
    """A formula over some of the bases that were offered."""

    program: Program
    guess: Guess
    """Which bases it is over, and the weights it was made for."""
    bits: float
    """Bits it misses of a number, on average."""


class Recipe(UpdateType):
    """A formula, then what it misses."""

    name = "recipe"
    max_bases = 16

    def estimate(self, new: Numbers, bases: Sequence[Numbers]) -> int:
        """Look for a formula on a sample."""
        found = _find_once(new, bases)
        if found is None:
            return new.data.size
        missed = found.bits / 8 * (new.data.size // word(new.dtype).itemsize)
        return min(len(found.program.to_bytes()) + int(missed), new.data.size)

    def encode(self, new: Numbers, bases: Sequence[Numbers]) -> Update | None:
        """Look for a formula on a sample; None when there is none."""
        found = _find_once(new, bases)
        if found is None:
            return None
        used = [bases[number].data for number in found.guess.bases]
        return told(new.data, used, new.dtype, found.program, uses=found.guess.bases)

    def decode(self, update: Update, bases: Sequence[Source], dtype: str, nbytes: int) -> Source:
        """Compute the formula, add what it misses."""
        if not update.parts or update.params or not 0 < update.parts[0].data.size <= LONGEST:
            raise PackError("Expected a formula and no params, found others")
        first = update.parts[0].data
        residual = [(word_name(dtype), nbytes)] * (len(update.parts) > 1)
        check_parts(update, [("U8", first.size), *residual])
        if not 0 < len(bases) <= MOST_BASES or min(base.size for base in bases) < nbytes:
            raise PackError(f"Expected 1 to {MOST_BASES} bases of {nbytes} bytes, found shorter")
        program = parse(bytes(first.read(0, first.size)), len(bases))
        predict = predictor(program, bases, dtype)
        if residual:
            return Restored(update.parts[1].data, dtype, nbytes, predict)
        return Predicted(dtype, nbytes, predict)


def told(
    new: Source,
    bases: Sequence[Source],
    dtype: str,
    program: Program,
    *,
    uses: tuple[int, ...] | None = None,
) -> Update:
    """The update that tells numbers by a given formula over bases at least as long."""
    formula = Part("U8", BytesSource(program.to_bytes()), serializer="raw")
    residual = Residual(new, dtype, predictor(program, bases, dtype))
    if all(not np.frombuffer(block, np.uint8).any() for block in residual.blocks()):
        return Update((formula,), uses=uses)
    return Update((formula, Part(word_name(dtype), residual)), uses=uses)


def predictor(program: Program, bases: Sequence[Source], dtype: str) -> Predict:
    """What a formula predicts; where that is no finite number, the first base's number.

    Raises
    ------
    PackError
        When it computes with numbers that are no floats, or too narrowly for F64.
    """
    words, scalar = word(dtype), SCALAR.get(dtype, dtype)
    if len(program.steps) == 1:
        base = bases[int(program.steps[0].argument)]
        return lambda first, count: read_words(base, first, count, words)
    if scalar not in MANTISSA or (scalar == "F64" and not program.wide):
        raise PackError(f"Expected a formula for {dtype}, found one for other numbers")

    def predict(first: int, count: int) -> Bits:
        numbers = [read_words(base, first, count, words) for base in bases]
        out = np.empty(count, words)
        for at in range(0, count, STEP):
            out[at : at + STEP] = _computed(program, [x[at : at + STEP] for x in numbers], scalar)
        return out

    return predict


def _computed(program: Program, bases: Sequence[Bits], scalar: str) -> Bits:
    values = evaluate(program, [widened(base, scalar) for base in bases], scalar)
    predicted = np.empty_like(bases[0])
    narrow_into(predicted, values, bases[0], scalar)
    return predicted


# ---- looking for a formula -----------------------------------------------------------------------


def _find_once(new: Numbers, bases: Sequence[Numbers]) -> Found | None:
    """What :func:`find` says; mostly it is asked for a guess first, then for the update."""
    asked = (new.data, *(base.data for base in bases))
    last = getattr(_last, "asked", ())
    if len(last) != len(asked) or any(a is not b for a, b in zip(last, asked, strict=True)):
        _last.found, _last.asked = find(new, bases), asked
    found: Found | None = _last.found
    return found


def find(new: Numbers, bases: Sequence[Numbers]) -> Found | None:
    """The formula that misses least of a sample; None when all miss much."""
    words = word(new.dtype)
    long = [at for at, base in enumerate(bases) if base.data.size >= new.data.size]
    if not new.data.size or not long:
        return None
    where = windows(new.data.size, new.dtype, width=_FIRST * words.itemsize)
    middle = where[len(where) // 2]
    sample = np.frombuffer(new.data.read(*middle), words)
    others = [np.frombuffer(bases[at].data.read(*middle), words) for at in long]
    scalar = SCALAR.get(new.dtype, new.dtype)
    with np.errstate(all="ignore"):
        tried = _guesses(sample, others, scalar)
        found = _copied(sample, others) or _best(sample, others, tried, scalar)
    if found is None or found.bits > WORTH * 8 * words.itemsize:
        return None
    uses = tuple(long[at] for at in found.guess.bases)
    found = found._replace(guess=found.guess._replace(bases=uses))
    return _confirmed(found, new, [bases[at].data for at in uses])


def _confirmed(found: Found, new: Numbers, used: Sequence[Source]) -> Found | None:
    """The formula after more of the numbers were looked at; another of its kind if that is it."""
    words, scalar = word(new.dtype), SCALAR.get(new.dtype, new.dtype)
    where = windows(new.data.size, new.dtype, width=_SAMPLE * words.itemsize)
    sample, *others = (
        np.frombuffer(b"".join(data.read(*window) for window in where), words)
        for data in (new.data, *used)
    )
    copies = len(found.program.steps) == 1
    missed = _missed(sample, others[0] if copies else _computed(found.program, others, scalar))
    if missed and not copies:
        local = Guess(tuple(range(len(used))), found.guess.weights)
        better = _best(sample, others, [local], scalar)
        if better and better.bits < missed:
            found, missed = found._replace(program=better.program), better.bits
    found = found._replace(bits=(found.bits + missed) / 2)
    return found if found.bits <= WORTH * 8 * words.itemsize else None


def _copied(sample: Bits, bases: Sequence[Bits]) -> Found | None:
    for at, base in enumerate(bases):
        if np.array_equal(sample, base):
            return Found(_COPY, Guess((at,), (1.0,)), 0.0)
    return None


def _best(sample: Bits, bases: Sequence[Bits], found: Iterable[Guess], scalar: str) -> Found | None:
    """The formula that misses least, the first of several that miss nothing."""
    best: Found | None = None
    tried = ((guess, program) for guess in found for program in programs(guess.weights, scalar))
    for guess, program in islice(tried, MOST_TRIED):
        if len(program.steps) == 1:  # what a copy misses is for a delta to tell
            continue
        bits = _missed(sample, _computed(program, [bases[at] for at in guess.bases], scalar))
        if best is None or bits < best.bits:
            best = Found(program, guess, bits)
        if not bits:
            break
    return best


def _guesses(sample: Bits, bases: Sequence[Bits], scalar: str) -> Iterator[Guess]:
    if scalar not in MANTISSA:
        return
    unit = 2.0 ** -(MANTISSA[scalar] + 1)
    tiny = float(widened(np.array([1], sample.dtype), scalar)[0])
    values = np.stack([widened(x, scalar) for x in (sample, *bases)]).astype("<f8")
    values = values[:, np.isfinite(values).all(0)]
    if values[0].any():
        yield from guesses(values[0], values[1:], unit, tiny)


def _missed(new: Bits, predicted: Bits) -> float:
    """Bits that a residual takes for a number, about."""
    left = zigzag(new - predicted)
    return float(np.log2(left[left > 0].astype(np.float64) + 1).sum() * 1.5 / max(len(new), 1))
