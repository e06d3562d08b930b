"""Formulas over buffers: programs in postfix order, a few steps of IEEE arithmetic, nothing else.

There are no loops, no names and no addresses: a program reads its bases' numbers, element by
element, and leaves one number. What it can cost is known from its length. The bytes are specified
in docs/spec/pack-v1.md.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from git_theta.errors import PackError
from git_theta.updates.elementwise import Floats, narrowed, widened

MAX_STEPS = 32
"""Most steps of a program."""
MAX_STACK = 8
"""Most numbers on the stack."""


class Op(IntEnum):
    """What a step does; the values are those in packs."""

    BASE = 0
    """Push the number of a base."""
    CONSTANT = 1
    """Push a constant."""
    ADD = 2
    SUBTRACT = 3
    MULTIPLY = 4
    DIVIDE = 5
    NEGATE = 6
    ROUND = 7
    """Round to the dtype of the buffer."""


class Step(NamedTuple):
    """One step, and what it pushes if it pushes."""

    op: Op
    argument: float = 0
    """Index of a base, or a constant."""


class Program(NamedTuple):
    """Steps, and the arithmetic that they are done in."""

    steps: tuple[Step, ...]
    wide: bool = False
    """Binary64 instead of binary32."""

    def to_bytes(self) -> bytes:
        """The bytes of packs."""
        out = [bytes([self.wide])]
        for op, argument in self.steps:
            out.append(bytes([op]))
            if op == Op.BASE:
                out.append(bytes([int(argument)]))
            elif op == Op.CONSTANT:
                out.append(struct.pack("<d" if self.wide else "<f", argument))
        return b"".join(out)


_BINARY: dict[Op, Callable[[Any, Any], Any]] = {
    Op.ADD: operator.add,
    Op.SUBTRACT: operator.sub,
    Op.MULTIPLY: operator.mul,
    Op.DIVIDE: operator.truediv,
}
_POPPED = dict.fromkeys(_BINARY, 2) | {Op.NEGATE: 1, Op.ROUND: 1}
LONGEST = 1 + 9 * MAX_STEPS
"""Most bytes of a program."""


def parse(data: bytes, bases: int) -> Program:
    """Read a program over so many bases.

    Raises
    ------
    PackError
        When it is not one that ends with one number, within the limits.
    """
    if not 1 < len(data) <= LONGEST or data[0] > 1:
        raise PackError(f"Expected a formula of at most {LONGEST} bytes, found {len(data)}")
    wide, at, steps, height = bool(data[0]), 1, [], 0
    constant = struct.Struct("<d" if wide else "<f")
    while at < len(data):
        code, argument, at = data[at], 0.0, at + 1
        if code > max(Op):
            raise PackError(f"Expected a step of a formula, found {code}")
        op = Op(code)
        if op == Op.BASE and at < len(data):
            argument, at = data[at], at + 1
            if argument >= bases:
                raise PackError(f"Expected one of {bases} bases, found {argument}")
        elif op == Op.CONSTANT and at + constant.size <= len(data):
            (argument,) = constant.unpack_from(data, at)
            at += constant.size
        elif op in (Op.BASE, Op.CONSTANT) or height < _POPPED[op]:
            raise PackError(f"Expected what {op.name} works on, found the end")
        height += 1 - _POPPED.get(op, 0)
        steps.append(Step(op, argument))
        if len(steps) > MAX_STEPS or height > MAX_STACK:
            raise PackError(f"Expected at most {MAX_STEPS} steps, and {MAX_STACK} numbers at once")
    if height != 1:
        raise PackError(f"Expected a formula that ends with one number, found {height}")
    return Program(tuple(steps), wide)


def evaluate(program: Program, bases: Sequence[Floats], dtype: str) -> Floats:
    """What a program makes of its bases' numbers (of ``dtype``, widened): not rounded at the end.

    What is too large for a step that rounds becomes NaN.
    """
    precision: Any = np.float64 if program.wide else np.float32
    stack: list[Any] = []
    with np.errstate(all="ignore"):
        for op, argument in program.steps:
            if op == Op.BASE:
                stack.append(bases[int(argument)].astype(precision, copy=False))
            elif op == Op.CONSTANT:
                stack.append(np.full(1, argument, precision))
            elif op in _BINARY:
                right = stack.pop()
                stack[-1] = _BINARY[op](stack[-1], right)
            else:
                change = np.negative if op == Op.NEGATE else lambda x: _rounded(x, dtype)
                stack[-1] = change(stack[-1]).astype(precision, copy=False)
    (result,) = stack
    result = np.asarray(result)
    return result if len(result) == len(bases[0]) else np.full(len(bases[0]), result[0])


def _rounded(values: Floats, dtype: str) -> Floats:
    bits, finite = narrowed(values, dtype)
    back = widened(bits, dtype)
    return np.where(finite, back, back.dtype.type(np.nan))
