"""The bytes of an HDF5 file's structure, read within bounds.

A hostile file may have structures overlap, so that a few bytes are read as any number of objects:
what is read and made of it is counted, and may not be much more than the file has.
"""

from __future__ import annotations

import struct

from git_theta.errors import CheckpointError, LimitExceeded
from git_theta.source import Source

UNDEFINED = 2**64 - 1
"""The address of what is not there."""

MAX_STRUCTURE = 64 * 2**20
"""Bytes of structure that are read of a file, however large it is."""

_FACTOR = 8
_FIRST = 2**16
_ITEM = 16
_NAME_STEP = 256
_MAX_NAME = 2**14
"""Bytes of a name: looking for the end of a longer one would take ever longer."""


class Structure:
    """Reads numbers and names, and refuses to read for ever."""

    def __init__(self, file: Source) -> None:
        self.file = file
        self._left = min(MAX_STRUCTURE, _FACTOR * file.size + _FIRST)

    def charge(self, nbytes: int) -> None:
        """Count an item, and bytes that were read or made.

        Raises
        ------
        LimitExceeded
            When it is too much for a file of this size.
        """
        self._left -= nbytes + _ITEM
        if self._left < 0:
            raise LimitExceeded("Its structure is larger than the file, or than 64 MiB")

    def read(self, address: int, nbytes: int) -> bytes:
        """Some bytes; errors as in :meth:`git_theta.source.Source.read`."""
        self.charge(nbytes)
        return bytes(self.file.read(address, nbytes))

    def expect(self, address: int, signature: bytes, nbytes: int) -> bytes:
        """The bytes of a structure that begins with its signature."""
        found = self.read(address, nbytes)
        if not found.startswith(signature):
            raise CheckpointError(
                f"Expected {signature.decode()} at byte {address}, found {found[:4]!r}"
            )
        return found

    def name(self, address: int, end: int) -> str:
        """A name that ends in a zero byte, before ``end``."""
        found = b""
        end = min(end, self.file.size)
        while b"\0" not in found:
            if len(found) > _MAX_NAME:
                raise LimitExceeded(f"A name of more than {_MAX_NAME} bytes")
            if address + len(found) >= end:
                raise CheckpointError(f"Expected a name at byte {address} that ends before {end}")
            step = min(_NAME_STEP, end - address - len(found))
            found += self.file.read(address + len(found), step)
            self.charge(step if len(found) > _NAME_STEP else 0)
        return decoded(found[: found.index(b"\0")])


def decoded(name: bytes) -> str:
    """A name as text; what is not UTF-8 stays apart from all that is."""
    return name.decode("utf-8", "surrogateescape")


def unpack(layout: str, data: bytes, offset: int = 0) -> tuple[int, ...]:
    """Little-endian numbers.

    Raises
    ------
    CheckpointError
        When the data are too short for them.
    """
    try:
        return struct.unpack_from("<" + layout, data, offset)
    except struct.error as fault:
        raise CheckpointError(f"A part of its structure is cut short: {fault}") from fault
