"""Fields of a protocol buffer, as they lie: no schema, nothing built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from git_theta.errors import CheckpointError, LimitExceeded

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_WIDTHS = {FIXED64: 8, FIXED32: 4}


class Field(NamedTuple):
    """A field of a message."""

    number: int
    kind: int
    """Its wire type."""
    value: int
    """Of a varint or a fixed number; 0 for bytes."""
    start: int
    """Where its value begins in the data."""
    end: int


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of up to 64 bits, and where it ends.

    Raises
    ------
    CheckpointError
        When it does not end.
    """
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), at
    raise CheckpointError(f"Expected a number of at most 10 bytes that ends at byte {at}")


class Messages:
    """Messages in some bytes, of which only so many fields are read: each takes a microsecond."""

    def __init__(self, data: bytes, fields: int) -> None:
        self.data, self._left = data, fields

    def fields(self, at: int, end: int) -> Iterator[Field]:
        """The fields of the message that lies between two offsets.

        Raises
        ------
        CheckpointError
            When it is malformed.
        LimitExceeded
            When there are too many, in all messages together.
        """
        for field in _read_fields(self.data, at, end):
            self._left -= 1
            if self._left < 0:
                raise LimitExceeded("Its messages have too many fields")
            yield field


def _read_fields(data: bytes, at: int, end: int) -> Iterator[Field]:
    while at < end:
        tag, at = read_varint(data, at)
        number, kind = tag >> 3, tag & 7
        value, start = 0, at
        if kind == VARINT:
            value, at = read_varint(data, at)
        elif kind in _WIDTHS:
            at += _WIDTHS[kind]
            value = int.from_bytes(data[start:at], "little")
        elif kind == BYTES:
            nbytes, start = read_varint(data, at)
            at = start + nbytes
        else:
            raise CheckpointError(f"Expected a field of a protocol buffer, found wire type {kind}")
        if at > end:
            raise CheckpointError(f"A field ends at byte {at} of a message that ends at {end}")
        yield Field(number, kind, value, start, at)
