"""Opcodes that would import and call something: here each leaves an inert record."""

from __future__ import annotations

from git_theta.errors import CheckpointError
from theta_pytorch.pickles.containers import pop_marked
from theta_pytorch.pickles.stand_ins import Global, Inert, Pairs, Persistent
from theta_pytorch.pickles.state import Machine, Stopped, Truncated, on

MAX_LINE = 4096
"""Bytes of the longest name or number that a line end closes."""


def find_line_end(machine: Machine, pos: int, limit: int = MAX_LINE) -> int:
    """The offset of the line end that closes an operand of at most ``limit`` bytes."""
    end = machine.data.find(b"\n", pos, pos + limit)
    if end >= 0:
        return end
    if pos + limit >= len(machine.data):
        raise Truncated(f"Expected a line of a pickle to end after byte {pos}")
    raise CheckpointError(f"Pickle has a line of more than {limit} bytes at byte {pos}")


def find_global(machine: Machine, key: bytes) -> Global:
    """The stand-in for ``module newline name``; one for each, so that it costs its bytes once."""
    found = machine.globals.get(key)
    if found is None:
        module, _, name = key.decode("utf-8", "backslashreplace").partition("\n")
        found = machine.globals[key] = Global(module, name)
        machine.spent += 400 + 9 * len(key)
    return found


@on(b"c")
def _global(machine: Machine, pos: int) -> int:
    end = find_line_end(machine, find_line_end(machine, pos) + 1)
    machine.stack.append(find_global(machine, machine.data[pos:end]))
    return end + 1


@on(b"\x93")
def _stack_global(machine: Machine, pos: int) -> int:
    name, module = machine.stack.pop(), machine.stack.pop()
    if type(name) is not str or type(module) is not str:
        raise CheckpointError("Pickle names a class by something that is no string")
    machine.stack.append(find_global(machine, f"{module}\n{name}".encode()))
    return pos


@on(b"R", b"\x81")
def _reduce(machine: Machine, pos: int) -> int:
    machine.spent += 80
    args = machine.stack.pop()
    machine.stack.append(Inert(machine.stack.pop(), args))
    return pos


@on(b"\x92")
def _newobj_ex(machine: Machine, pos: int) -> int:
    machine.spent += 80
    keywords, args = machine.stack.pop(), machine.stack.pop()
    made = Inert(machine.stack.pop(), args)
    made.pairs = keywords if isinstance(keywords, Pairs) else None
    machine.stack.append(made)
    return pos


@on(b"o")
def _obj(machine: Machine, pos: int) -> int:
    type, *args = pop_marked(machine)
    machine.spent += 144 + 8 * len(args)
    machine.stack.append(Inert(type, tuple(args)))
    return pos


@on(b"i")
def _inst(machine: Machine, pos: int) -> int:
    args = pop_marked(machine)
    machine.spent += 144 + 8 * len(args)
    pos = _global(machine, pos)
    machine.stack.append(Inert(machine.stack.pop(), tuple(args)))
    return pos


@on(b"b")
def _build(machine: Machine, pos: int) -> int:
    state = machine.stack.pop()
    target = machine.stack[-1]
    if not isinstance(target, Inert):
        raise CheckpointError(f"Pickle sets attributes of {type(target).__name__}")
    machine.spent += 64
    target.state = state if target.state is None else (target.state, state)
    return pos


@on(b"Q")
def _binpersid(machine: Machine, pos: int) -> int:
    machine.spent += 56
    outside = Persistent(machine.stack.pop())
    machine.persistent.append(outside)
    machine.stack.append(outside)
    return pos


@on(b".")
def _stop(machine: Machine, pos: int) -> int:
    raise Stopped(machine.stack.pop(), pos)
