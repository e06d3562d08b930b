"""Opcodes of protocol 0, whose operands are lines of text."""

from __future__ import annotations

from theta_pytorch.pickles.memo import get, put
from theta_pytorch.pickles.objects import find_line_end
from theta_pytorch.pickles.stand_ins import OPAQUE, Persistent
from theta_pytorch.pickles.state import Machine, on
from theta_pytorch.pickles.values import MAX_TEXT, push_text

_MAX_DIGITS = 40


def _number(machine: Machine, pos: int) -> tuple[object, int]:
    end = find_line_end(machine, pos)
    machine.spent += 40
    if end - pos > _MAX_DIGITS:
        return OPAQUE, end + 1
    return int(machine.data[pos:end].removesuffix(b"L")), end + 1


@on(b"I")
def _int(machine: Machine, pos: int) -> int:
    boolean = {b"00\n": False, b"01\n": True}.get(machine.data[pos : pos + 3])
    value, end = _number(machine, pos)
    machine.stack.append(value if boolean is None else boolean)
    return end


@on(b"L")
def _long(machine: Machine, pos: int) -> int:
    value, end = _number(machine, pos)
    machine.stack.append(value)
    return end


@on(b"F")
def _float(machine: Machine, pos: int) -> int:
    end = find_line_end(machine, pos)
    machine.spent += 24
    machine.stack.append(float(machine.data[pos:end]))
    return end + 1


@on(b"V")
def _unicode(machine: Machine, pos: int) -> int:
    end = find_line_end(machine, pos, len(machine.data))
    if end - pos > MAX_TEXT:
        machine.stack.append(OPAQUE)
    else:
        text = machine.data[pos:end].decode("raw_unicode_escape")
        push_text(machine, text.encode("utf-8", "backslashreplace"))
    return end + 1


@on(b"S")
def _string(machine: Machine, pos: int) -> int:
    end = find_line_end(machine, pos, len(machine.data))
    if end - pos > MAX_TEXT:
        machine.stack.append(OPAQUE)
    else:
        push_text(machine, machine.data[pos:end].strip(b" \r")[1:-1])
    return end + 1


@on(b"P")
def _persid(machine: Machine, pos: int) -> int:
    end = find_line_end(machine, pos)
    machine.spent += 56
    machine.stack.append(Persistent(OPAQUE))
    return end + 1


@on(b"p")
def _put(machine: Machine, pos: int) -> int:
    index, end = _number(machine, pos)
    put(machine, _checked(index))
    return end


@on(b"g")
def _get(machine: Machine, pos: int) -> int:
    index, end = _number(machine, pos)
    get(machine, _checked(index))
    return end


def _checked(index: object) -> int:
    if not isinstance(index, int) or not 0 <= index < 2**32:
        raise ValueError(f"{index} is no memo index")
    return index
