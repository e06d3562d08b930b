"""Opcodes that build tuples, lists, sets and dicts. A set becomes a list, a dict a flat list."""

from __future__ import annotations

from git_theta.errors import CheckpointError
from theta_pytorch.pickles.stand_ins import Inert, Pairs
from theta_pytorch.pickles.state import Machine, on


@on(b"(")
def _mark(machine: Machine, pos: int) -> int:
    machine.marks.append(len(machine.stack))
    return pos


def pop_marked(machine: Machine) -> list[object]:
    """Take what was pushed since the latest mark."""
    stack = machine.stack
    start = machine.marks.pop()
    items = stack[start:]
    del stack[start:]
    return items


@on(b"t")
def _tuple(machine: Machine, pos: int) -> int:
    items = pop_marked(machine)
    machine.spent += 56 + 8 * len(items)
    machine.stack.append(tuple(items))
    return pos


@on(b"\x85")
def _tuple1(machine: Machine, pos: int) -> int:
    machine.spent += 64
    machine.stack.append((machine.stack.pop(),))
    return pos


@on(b"\x86")
def _tuple2(machine: Machine, pos: int) -> int:
    machine.spent += 72
    last = machine.stack.pop()
    machine.stack.append((machine.stack.pop(), last))
    return pos


@on(b"\x87")
def _tuple3(machine: Machine, pos: int) -> int:
    machine.spent += 80
    last, middle = machine.stack.pop(), machine.stack.pop()
    machine.stack.append((machine.stack.pop(), middle, last))
    return pos


@on(b"]", b"\x8f")
def _empty_list(machine: Machine, pos: int) -> int:
    machine.spent += 64
    machine.stack.append([])
    return pos


@on(b"}")
def _empty_dict(machine: Machine, pos: int) -> int:
    machine.spent += 80
    machine.stack.append(Pairs())
    return pos


@on(b"l", b"\x91")
def _list(machine: Machine, pos: int) -> int:
    items = pop_marked(machine)
    machine.spent += 64 + 8 * len(items)
    machine.stack.append(items)
    return pos


@on(b"d")
def _dict(machine: Machine, pos: int) -> int:
    items = pop_marked(machine)
    machine.spent += 80
    machine.stack.append(Pairs())
    _set_items(machine, items)
    return pos


@on(b"a")
def _append(machine: Machine, pos: int) -> int:
    item = machine.stack.pop()
    _extend(machine, [item])
    return pos


@on(b"e", b"\x90")
def _appends(machine: Machine, pos: int) -> int:
    _extend(machine, pop_marked(machine))
    return pos


@on(b"s")
def _set_item(machine: Machine, pos: int) -> int:
    value = machine.stack.pop()
    _set_items(machine, [machine.stack.pop(), value])
    return pos


@on(b"u")
def _set_marked_items(machine: Machine, pos: int) -> int:
    _set_items(machine, pop_marked(machine))
    return pos


def _extend(machine: Machine, items: list[object]) -> None:
    target = machine.stack[-1]
    machine.spent += 16 * len(items)
    if type(target) is list:
        target.extend(items)
    elif isinstance(target, Inert):
        target.items = target.items or []
        target.items.extend(items)
    else:
        raise CheckpointError(f"Pickle appends to {type(target).__name__}, expected a list")


def _set_items(machine: Machine, items: list[object]) -> None:
    target = machine.stack[-1]
    machine.spent += 16 * len(items)
    if len(items) % 2:
        raise CheckpointError("Pickle sets a dict's key without a value")
    if isinstance(target, Pairs):
        target.extend(items)
    elif isinstance(target, Inert):
        target.pairs = target.pairs or Pairs()
        target.pairs.extend(items)
    else:
        raise CheckpointError(f"Pickle sets items of {type(target).__name__}, expected a dict")
