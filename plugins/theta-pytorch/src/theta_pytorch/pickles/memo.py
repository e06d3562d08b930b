"""Opcodes for the memo, the stack itself, and the framing of a pickle."""

from __future__ import annotations

from struct import Struct

from git_theta.errors import CheckpointError
from theta_pytorch.pickles.containers import pop_marked
from theta_pytorch.pickles.state import Machine, on, skip

_U32, _U64 = Struct("<I"), Struct("<Q")


def put(machine: Machine, index: int) -> None:
    """Remember the top of the stack; an index is never believed to be a size."""
    memo = machine.memo
    if index == len(memo):
        memo.append(machine.stack[-1])
    elif 0 <= index < len(memo):
        memo[index] = machine.stack[-1]
    else:
        machine.sparse[b"%d" % index] = machine.stack[-1]


def get(machine: Machine, index: int) -> None:
    """Push what was remembered under an index."""
    memo = machine.memo
    machine.stack.append(memo[index] if 0 <= index < len(memo) else machine.sparse[b"%d" % index])


@on(b"q")
def _binput(machine: Machine, pos: int) -> int:
    index, memo = machine.data[pos], machine.memo
    if index == len(memo):  # as put does: every third opcode of a checkpoint comes here
        memo.append(machine.stack[-1])
    else:
        put(machine, index)
    return pos + 1


@on(b"r")
def _long_binput(machine: Machine, pos: int) -> int:
    index, memo = _U32.unpack_from(machine.data, pos)[0], machine.memo
    if index == len(memo):
        memo.append(machine.stack[-1])
    else:
        put(machine, index)
    return pos + 4


@on(b"\x94")
def _memoize(machine: Machine, pos: int) -> int:
    put(machine, len(machine.memo) + len(machine.sparse))
    return pos


@on(b"h")
def _binget(machine: Machine, pos: int) -> int:
    get(machine, machine.data[pos])
    return pos + 1


@on(b"j")
def _long_binget(machine: Machine, pos: int) -> int:
    get(machine, _U32.unpack_from(machine.data, pos)[0])
    return pos + 4


@on(b"0")
def _pop(machine: Machine, pos: int) -> int:
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.stack.pop()
    return pos


@on(b"1")
def _pop_mark(machine: Machine, pos: int) -> int:
    pop_marked(machine)
    return pos


@on(b"2")
def _dup(machine: Machine, pos: int) -> int:
    machine.stack.append(machine.stack[-1])
    return pos


@on(b"\x80")
def _proto(machine: Machine, pos: int) -> int:
    if machine.data[pos] > 5:
        raise CheckpointError(f"Pickle has protocol {machine.data[pos]}, expected at most 5")
    return pos + 1


@on(b"\x95")
def _frame(machine: Machine, pos: int) -> int:
    skip(machine, pos + 8, _U64.unpack_from(machine.data, pos)[0])
    return pos + 8
