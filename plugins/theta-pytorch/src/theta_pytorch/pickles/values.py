"""Opcodes that push constants, numbers and strings."""

from __future__ import annotations

from struct import Struct

from theta_pytorch.pickles.stand_ins import OPAQUE
from theta_pytorch.pickles.state import Machine, on, skip

MAX_TEXT = 4096
"""Bytes of the longest string that is decoded: no longer one can be a name."""

_U16, _U32, _U64 = Struct("<H"), Struct("<I"), Struct("<Q")
_I32, _F64 = Struct("<i"), Struct(">d")


def _on_constant(opcode: bytes, value: object) -> None:
    def push(machine: Machine, pos: int) -> int:
        machine.stack.append(value)
        return pos

    on(opcode)(push)


for _opcode, _value in ((b"N", None), (b"\x88", True), (b"\x89", False), (b")", ())):
    _on_constant(_opcode, _value)


@on(b"K")
def _binint1(machine: Machine, pos: int) -> int:
    machine.stack.append(machine.data[pos])
    return pos + 1


@on(b"M")
def _binint2(machine: Machine, pos: int) -> int:
    machine.spent += 32
    machine.stack.append(_U16.unpack_from(machine.data, pos)[0])
    return pos + 2


@on(b"J")
def _binint(machine: Machine, pos: int) -> int:
    machine.spent += 32
    machine.stack.append(_I32.unpack_from(machine.data, pos)[0])
    return pos + 4


@on(b"G")
def _binfloat(machine: Machine, pos: int) -> int:
    machine.spent += 24
    machine.stack.append(_F64.unpack_from(machine.data, pos)[0])
    return pos + 8


@on(b"\x8a")
def _long1(machine: Machine, pos: int) -> int:
    return _long(machine, pos + 1, machine.data[pos])


@on(b"\x8b")
def _long4(machine: Machine, pos: int) -> int:
    return _long(machine, pos + 4, _I32.unpack_from(machine.data, pos)[0])


def _long(machine: Machine, pos: int, nbytes: int) -> int:
    end = skip(machine, pos, nbytes)
    machine.spent += 48
    small = nbytes <= 16  # no size is larger, and the legacy format's magic number has 10 bytes
    value = int.from_bytes(machine.data[pos:end], "little", signed=True) if small else OPAQUE
    machine.stack.append(value)
    return end


def push_text(machine: Machine, raw: bytes) -> None:
    """Push a string; what is not UTF-8 becomes escapes, so that every name can be written."""
    text = raw.decode("utf-8", "backslashreplace")
    machine.spent += 64 + (len(text) if text.isascii() else 4 * len(text))
    machine.stack.append(text)


def _text(machine: Machine, pos: int, nbytes: int) -> int:
    end = skip(machine, pos, nbytes)
    if nbytes > MAX_TEXT:
        machine.stack.append(OPAQUE)
    else:
        push_text(machine, machine.data[pos:end])
    return end


@on(b"X")
def _binunicode(machine: Machine, pos: int) -> int:
    return _text(machine, pos + 4, _U32.unpack_from(machine.data, pos)[0])


@on(b"\x8c", b"U")  # U: what Python 2 called a string, here a name more often than data
def _short_binunicode(machine: Machine, pos: int) -> int:
    return _text(machine, pos + 1, machine.data[pos])


@on(b"\x8d")
def _binunicode8(machine: Machine, pos: int) -> int:
    return _text(machine, pos + 8, _U64.unpack_from(machine.data, pos)[0])


@on(b"C")
def _short_binbytes(machine: Machine, pos: int) -> int:
    machine.stack.append(OPAQUE)
    return skip(machine, pos + 1, machine.data[pos])


@on(b"T", b"B")
def _binbytes(machine: Machine, pos: int) -> int:
    machine.stack.append(OPAQUE)
    return skip(machine, pos + 4, _U32.unpack_from(machine.data, pos)[0])


@on(b"\x8e", b"\x96")
def _binbytes8(machine: Machine, pos: int) -> int:
    machine.stack.append(OPAQUE)
    return skip(machine, pos + 8, _U64.unpack_from(machine.data, pos)[0])
