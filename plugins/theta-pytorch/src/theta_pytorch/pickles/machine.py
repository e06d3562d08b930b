"""Reads a pickle without running it: walks the opcodes, builds inert stand-ins.

Nothing is imported, called or hashed by value. What a pickle may cost is bounded by
:data:`MAX_STEPS` and :data:`MAX_MEMORY`, whatever it claims: no size is believed before that many
bytes were seen, and the memo grows with what is put into it, not with the largest index.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from git_theta.errors import CheckpointError, LimitExceeded
from theta_pytorch.pickles import containers, memo, objects, text, values
from theta_pytorch.pickles.stand_ins import Persistent
from theta_pytorch.pickles.state import HANDLERS, Machine, Stopped, Truncated

OPCODES = (containers, memo, objects, text, values)
"""The modules whose handlers are known."""

MAX_PICKLE = 64 * 2**20
"""Bytes of the longest pickle that is read."""

MAX_STEPS = 8 * 2**20
"""Opcodes that are followed in one pickle; a tensor takes about forty."""

MAX_MEMORY = 192 * 2**20
"""Bytes that the stand-ins of one pickle may take, by estimate."""

_CHUNK = 1024
"""Steps between two looks at the memory; one step takes at most MAX_TEXT characters."""

_LONGEST_OPERAND = 9


class Pickled(NamedTuple):
    """What a pickle held."""

    root: object
    """The object, made of stand-ins."""
    end: int
    """Offset of the first byte after the pickle."""
    persistent: list[Persistent]
    """What the pickle keeps outside of itself, in the order met."""


def load_pickle(data: bytes, start: int = 0) -> Pickled:
    """Read the pickle that begins at ``start``.

    Raises
    ------
    Truncated
        When the data end before the pickle does.
    LimitExceeded
        When the pickle takes more steps or memory than the limits of this module allow.
    CheckpointError
        When it is malformed.
    """
    machine, handlers, pos = Machine(data), HANDLERS, start
    try:
        for _ in range(MAX_STEPS // _CHUNK):
            for _ in range(_CHUNK):
                pos = handlers[data[pos]](machine, pos + 1)
            _check_memory(machine)
    except Stopped as stopped:
        _check_memory(machine)
        return Pickled(stopped.root, stopped.end, machine.persistent)
    except (IndexError, struct.error) as fault:
        if pos + _LONGEST_OPERAND >= len(data):
            raise Truncated(f"Expected a pickle to go on after byte {pos}") from fault
        raise CheckpointError(f"Pickle takes from an empty stack at byte {pos}") from fault
    except (KeyError, ValueError) as fault:
        raise CheckpointError(f"Pickle is malformed at byte {pos}: {fault}") from fault
    raise LimitExceeded(f"Expected a pickle of at most {MAX_STEPS} opcodes, found more")


def _check_memory(machine: Machine) -> None:
    lists = 10 * (len(machine.stack) + len(machine.memo)) + 40 * len(machine.marks)
    if machine.spent + lists + 160 * len(machine.sparse) > MAX_MEMORY:
        raise LimitExceeded(f"Expected a pickle's objects in {MAX_MEMORY} bytes, found more")
