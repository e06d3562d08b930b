"""Reads msgpack item by item from a source: where payloads lie, not what is in them.

Nothing is built, no length is believed before it was checked against the source, and long payloads
are stepped over unread.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from git_theta.errors import CheckpointError
from git_theta.source import Source

_WINDOW = 2**13  # bytes read at once: most payloads between two headers are longer


class Kind(Enum):
    """What an item is, as messages tell it."""

    MAP = "a map"
    LIST = "a list"
    TEXT = "a text"
    BYTES = "bytes"
    EXTENSION = "an extension"
    WHOLE = "a whole number"
    OTHER = "a number, a truth value or nothing"


class Item(NamedTuple):
    """An item without what it holds."""

    kind: Kind
    number: int = 0
    """The whole number itself; an extension's code; how many items a list or pairs a map has."""
    start: int = 0
    """Where the payload of a text, of bytes or of an extension begins in the source."""
    nbytes: int = 0
    """How long that payload is."""


class _Head(NamedTuple):
    """What the first byte of an item says."""

    kind: Kind
    width: int
    """Bytes that follow and hold the number, or the length of the payload."""
    number: int = 0
    """The number where none follow."""
    signed: bool = False


def _list_heads() -> list[_Head | None]:
    heads: list[_Head | None] = [None] * 256
    heads[0x00:0x80] = [_Head(Kind.WHOLE, 0, number) for number in range(128)]
    heads[0x80:0x90] = [_Head(Kind.MAP, 0, number) for number in range(16)]
    heads[0x90:0xA0] = [_Head(Kind.LIST, 0, number) for number in range(16)]
    heads[0xA0:0xC0] = [_Head(Kind.TEXT, 0, number) for number in range(32)]
    heads[0xC0], heads[0xC2], heads[0xC3] = [_Head(Kind.OTHER, 0)] * 3
    heads[0xC4:0xC7] = [_Head(Kind.BYTES, width) for width in (1, 2, 4)]
    heads[0xC7:0xCA] = [_Head(Kind.EXTENSION, width) for width in (1, 2, 4)]
    heads[0xCA:0xCC] = [_Head(Kind.OTHER, width) for width in (4, 8)]
    heads[0xCC:0xD0] = [_Head(Kind.WHOLE, width) for width in (1, 2, 4, 8)]
    heads[0xD0:0xD4] = [_Head(Kind.WHOLE, width, signed=True) for width in (1, 2, 4, 8)]
    heads[0xD4:0xD9] = [_Head(Kind.EXTENSION, 0, 2**power) for power in range(5)]
    heads[0xD9:0xDC] = [_Head(Kind.TEXT, width) for width in (1, 2, 4)]
    heads[0xDC:0xDE] = [_Head(Kind.LIST, width) for width in (2, 4)]
    heads[0xDE:0xE0] = [_Head(Kind.MAP, width) for width in (2, 4)]
    heads[0xE0:] = [_Head(Kind.WHOLE, 0, number - 32) for number in range(32)]
    return heads


_HEADS = _list_heads()
_WITH_PAYLOAD = (Kind.TEXT, Kind.BYTES, Kind.EXTENSION)


class Packed:
    """Reads a source from its start; ``pos`` is where the next item begins."""

    def __init__(self, source: Source) -> None:
        self.pos = 0
        self._source = source
        self._start, self._window = 0, memoryview(b"")

    def read(self, start: int, nbytes: int) -> memoryview:
        """Some bytes of the source, few and mostly those that come next.

        Raises
        ------
        CheckpointError
            When they are not in the source.
        """
        low = start - self._start
        if low < 0 or low + nbytes > len(self._window):
            ahead = max(nbytes, min(_WINDOW, self._source.size - start))
            self._window = memoryview(self._source.read(start, ahead))
            self._start, low = start, 0
        return self._window[low : low + nbytes]

    def next(self) -> Item:
        """Read an item and step over its payload; what a list or a map holds comes next.

        Raises
        ------
        CheckpointError
            When there is none, or it does not end inside the source.
        """
        head = _HEADS[self.read(self.pos, 1)[0]]
        if head is None:
            raise CheckpointError(f"Byte {self.pos} begins no item of msgpack")
        kind, width, number, signed = head
        self.pos += 1
        if width:
            following = self.read(self.pos, width)
            number = int.from_bytes(following, "big", signed=signed)
            self.pos += width
        if kind not in _WITH_PAYLOAD:
            return Item(kind, number)
        code = 0
        if kind is Kind.EXTENSION:
            code = int.from_bytes(self.read(self.pos, 1), "big", signed=True)
            self.pos += 1
        start, self.pos = self.pos, self.pos + number
        if self.pos > self._source.size:
            raise CheckpointError(
                f"Expected {kind.value} of {number} bytes at byte {start}, "
                f"found {self._source.size - start} bytes"
            )
        return Item(kind, code, start, number)

    def expect(self, *kinds: Kind) -> Item:
        """Read an item that must be of one of some kinds; errors as in :meth:`next`."""
        item = self.next()
        if item.kind not in kinds:
            told = " or ".join(kind.value for kind in kinds)
            raise CheckpointError(
                f"Expected {told} before byte {self.pos}, found {item.kind.value}"
            )
        return item
