"""The formulas that people merge models with, in the orders of operations that libraries use.

The same average has other bits when it is summed in another order, or rounded after each step; so
each way is a program of its own, and the one that gives the bits is looked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import NamedTuple

import numpy as np

from git_theta.updates.elementwise import narrowed, widened
from git_theta.updates.program import MAX_STEPS, Op, Program, Step

Expression = tuple[Step, ...]


class _Mode(NamedTuple):
    """How a formula is computed."""

    each: bool = False
    """Whether every operation is rounded to the dtype, as when a library is given BF16."""
    wide: bool = False
    """Binary64, for a product and a sum that are rounded at once (a fused multiply-add)."""
    stored: bool = False
    """Whether differences are rounded to the dtype before they are multiplied."""
    short: bool = False
    """Whether constants are rounded to the dtype."""


def programs(weights: Sequence[float], dtype: str) -> Iterator[Program]:
    """Ways to compute the sum of bases 0, 1, ... times their weights, likely ones first."""
    for mode in _modes(dtype):
        writer = _Writer(mode, dtype)
        for steps in writer.expressions(list(weights)):
            if len(steps) <= MAX_STEPS:
                yield Program(steps, mode.wide)


def _modes(dtype: str) -> list[_Mode]:
    if dtype == "F64":
        return [_Mode(wide=True)]
    if dtype == "F32":
        return [_Mode(), _Mode(wide=True, stored=True)]
    fused = [_Mode(wide=True, stored=stored) for stored in (False, True)]
    ways = [_Mode(), _Mode(each=True), *fused]
    return ways + [way._replace(short=True) for way in ways]


class _Writer:
    """Writes expressions in one mode."""

    def __init__(self, mode: _Mode, dtype: str) -> None:
        self._mode, self._dtype = mode, dtype
        self._fused = mode.wide and dtype != "F64"
        self._after: Expression = (Step(Op.ROUND),) if mode.each else ()

    def expressions(self, weights: list[float]) -> Iterator[Expression]:
        count = len(weights)
        if count == 1:
            yield self._times(_base(0), weights[0])
            return
        yield from self._accumulated(weights) if self._fused else self._sums(weights)
        one = math.isclose(sum(weights), 1, abs_tol=1e-9)
        for pivot in range(count) if one else ():
            yield from self._from_pivot(pivot, weights)
        yield from self._with_difference(weights)

    def _sums(self, weights: list[float]) -> Iterator[Expression]:
        """Weighted sums, and means where all weights are one fraction."""
        count = len(weights)
        for order in _orders(count):
            if len({round(weight, 9) for weight in weights}) == 1 and abs(weights[0]) != 1:
                total = self._sum([_base(number) for number in order])
                inverse = round(1 / weights[0])
                if math.isclose(inverse * weights[0], 1, rel_tol=1e-9):
                    yield self._apply(total, self._constant(inverse), Op.DIVIDE)
                yield self._times(total, weights[0])
            yield self._weighted(order, weights)

    def _accumulated(self, weights: list[float]) -> Iterator[Expression]:
        """Weighted sums to which each base times its weight is added at once, in any order."""
        scaling = _Writer(self._mode._replace(short=False), self._dtype)
        for order in permutations(range(len(weights))) if len(weights) < 4 else ():
            first, *others = order
            result = (*scaling._times(_base(first), weights[first]), Step(Op.ROUND))
            for number in others:
                term = self._times(_base(number), weights[number])
                result = (*self._apply(result, term, Op.ADD), Step(Op.ROUND))
            yield result

    def _weighted(self, order: Sequence[int], weights: list[float]) -> Expression:
        """Bases times their weights in order; a weight of -1 subtracts."""
        first, *others = order
        result = self._times(_base(first), weights[first])
        for number in others:
            if weights[number] < 0:
                term = self._times(_base(number), -weights[number])
                result = self._apply(result, term, Op.SUBTRACT)
            else:
                term = self._times(_base(number), weights[number])
                result = self._apply(result, term, Op.ADD)
        return result

    def _from_pivot(self, pivot: int, weights: list[float]) -> Iterator[Expression]:
        """The pivot plus what others add to it: interpolation, task vectors."""
        others = [number for number in range(len(weights)) if number != pivot]
        vectors = [self._difference(number, pivot) for number in others]
        if len({round(weights[number], 9) for number in others}) == 1:
            moved = self._times(self._sum(vectors), weights[others[0]])
            yield self._apply(_base(pivot), moved, Op.ADD)
        if len(others) > 1:
            terms = zip(vectors, (weights[number] for number in others), strict=True)
            yield self._sum([_base(pivot), *(self._times(*term) for term in terms)])

    def _with_difference(self, weights: list[float]) -> Iterator[Expression]:
        """Two bases' difference times a number, alone or added to a third."""
        for one, other in permutations(range(len(weights)), 2):
            scale, rest = weights[one], set(range(len(weights))) - {one, other}
            opposite = math.isclose(scale, -weights[other], abs_tol=1e-9)
            if not opposite or scale <= 0 or len(rest) > 1:
                continue
            moved = self._times(self._difference(one, other), scale)
            if not rest:
                yield moved
                yield self._times(moved, -1.0)
                continue
            (third,) = rest
            start = self._times(_base(third), weights[third])
            yield self._apply(start, moved, Op.ADD)
            opposed = self._times(self._difference(other, one), scale)
            yield self._apply(start, opposed, Op.SUBTRACT)

    def _difference(self, one: int, other: int) -> Expression:
        steps = self._apply(_base(one), _base(other), Op.SUBTRACT)
        return (*steps, Step(Op.ROUND)) if self._mode.stored else steps

    def _sum(self, terms: Sequence[Expression]) -> Expression:
        result, *others = terms
        for term in others:
            result = self._apply(result, term, Op.ADD)
        return result

    def _times(self, value: Expression, factor: float) -> Expression:
        if factor == 1:
            return value
        if factor == -1:
            return (*value, Step(Op.NEGATE))
        return self._apply(value, self._constant(factor), Op.MULTIPLY)

    def _apply(self, left: Expression, right: Expression, op: Op) -> Expression:
        return (*left, *right, Step(op), *self._after)

    def _constant(self, value: float) -> Expression:
        if self._dtype != "F64":
            value = float(np.float32(value))
        if self._mode.short:
            bits, finite = narrowed(np.array([value], "<f4"), self._dtype)
            value = float(widened(bits, self._dtype)[0]) if finite[0] else value
        return (Step(Op.CONSTANT, value),)


def _base(number: int) -> Expression:
    return (Step(Op.BASE, number),)


def _orders(count: int) -> list[tuple[int, ...]]:
    """Orders of a sum that give other bits: the first two commute."""
    forwards = tuple(range(count))
    if count == 3:
        return [forwards, (0, 2, 1), (1, 2, 0)]
    return [forwards] if count < 3 else [forwards, forwards[::-1]]
