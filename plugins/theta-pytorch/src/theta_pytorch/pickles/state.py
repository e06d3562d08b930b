"""The state that the opcodes work on, and the table in which their handlers register.

A handler takes the machine and the offset of its operand, and returns the offset of the next
opcode. Running off the data or the stack raises IndexError or struct.error, which the run loop
explains; what creates an object adds its estimated bytes to :attr:`Machine.spent`.
"""

from __future__ import annotations

from collections.abc import Callable

from git_theta.errors import CheckpointError
from theta_pytorch.pickles.stand_ins import Global, Persistent


class Truncated(CheckpointError):
    """A pickle goes on where the bytes that were read end."""


class Stopped(Exception):
    """Control flow: the pickle's last opcode was met."""

    def __init__(self, root: object, end: int) -> None:
        super().__init__()
        self.root, self.end = root, end


class Machine:
    """What an unpickler remembers between two opcodes."""

    __slots__ = ("data", "globals", "marks", "memo", "persistent", "sparse", "spent", "stack")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.stack: list[object] = []
        self.marks: list[int] = []
        """Lengths that the stack had at each mark."""
        self.memo: list[object] = []
        self.sparse: dict[bytes, object] = {}
        """Memo entries beyond the end of ``memo``: honest pickles number theirs from 0 up.

        By the digits of their number, whose hash a file cannot foresee.
        """
        self.globals: dict[bytes, Global] = {}
        """The stand-ins for functions and classes, by ``module newline name``."""
        self.persistent: list[Persistent] = []
        self.spent = 0
        """Bytes that the stand-ins take, without stack and memo."""


Handler = Callable[[Machine, int], int]


def _unknown(machine: Machine, pos: int) -> int:
    raise CheckpointError(f"Pickle has the opcode {machine.data[pos - 1]:#04x}, which is not read")


HANDLERS: list[Handler] = [_unknown] * 256
"""The handler of every opcode."""


def on(*opcodes: bytes) -> Callable[[Handler], Handler]:
    """Register a handler for opcodes."""

    def register(handler: Handler) -> Handler:
        for opcode in opcodes:
            HANDLERS[opcode[0]] = handler
        return handler

    return register


def skip(machine: Machine, pos: int, nbytes: int) -> int:
    """The offset after an operand of a claimed size, if that many bytes are there."""
    if nbytes < 0:
        raise CheckpointError(f"Pickle claims {nbytes} bytes at byte {pos}")
    if pos + nbytes > len(machine.data):
        raise Truncated(
            f"Pickle claims {nbytes} bytes at byte {pos}, found {len(machine.data) - pos}"
        )
    return pos + nbytes
