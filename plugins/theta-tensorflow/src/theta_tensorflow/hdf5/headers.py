"""Object headers: what an HDF5 file says of one group or dataset, as a list of messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from git_theta.errors import CheckpointError
from theta_tensorflow.hdf5.structure import Structure, unpack

DATASPACE, LINK_INFO, DATATYPE, LINK, EXTERNAL_FILES = 0x01, 0x02, 0x03, 0x06, 0x07
LAYOUT, ATTRIBUTE, CONTINUATION, SYMBOL_TABLE = 0x08, 0x0C, 0x10, 0x11

_SHARED = 0x02
_TIMES, _PHASES, _ORDERED = 0x20, 0x10, 0x04


class Message(NamedTuple):
    """A message of an object header."""

    kind: int
    data: bytes
    shared: bool
    """Whether the data only say where the message is."""


class _Block(NamedTuple):
    start: int
    end: int


def read_messages(structure: Structure, address: int) -> list[Message]:
    """All messages of the object header at an address, in order."""
    version = structure.read(address, 1)
    if version == b"\x01":
        nbytes = unpack("I", structure.read(address + 8, 4))[0]
        start = address + 16
        return _read_blocks(structure, _Block(start, start + nbytes), first=True, flags=None)
    head = structure.expect(address, b"OHDR", 6)
    flags = head[5]
    at = address + 6 + 16 * bool(flags & _TIMES) + 4 * bool(flags & _PHASES)
    width = 1 << (flags & 3)
    nbytes = int.from_bytes(structure.read(at, width), "little")
    at += width
    return _read_blocks(structure, _Block(at, at + nbytes), first=True, flags=flags)


def _read_blocks(
    structure: Structure, block: _Block, *, first: bool, flags: int | None
) -> list[Message]:
    """The messages of a header's blocks; ``flags`` are those of version 2, None: version 1."""
    todo, seen = [block], {block.start}
    found: list[Message] = []
    while todo:
        start, end = todo.pop(0)
        data = structure.read(start, end - start)
        if flags is not None and not first:
            if not data.startswith(b"OCHK"):
                raise CheckpointError(f"Expected OCHK at byte {start}, found {data[:4]!r}")
            data = data[4:-4]
        for message in _split(structure, data, flags):
            if message.kind == CONTINUATION:
                address, nbytes = unpack("QQ", message.data)
                if address in seen:
                    raise CheckpointError(f"A header goes on at byte {address} twice")
                seen.add(address)
                todo.append(_Block(address, address + nbytes))
            else:
                found.append(message)
        first = False
    return found


def _split(structure: Structure, data: bytes, flags: int | None) -> Iterator[Message]:
    head = 8 if flags is None else 4 + 2 * bool(flags & _ORDERED)
    at = 0
    while at + head <= len(data):
        kind, nbytes, said = unpack("HHB" if flags is None else "BHB", data, at)
        at += head
        structure.charge(0)
        if at + nbytes > len(data):
            raise CheckpointError(f"A message of {nbytes} bytes leaves its object header")
        yield Message(kind, data[at : at + nbytes], bool(said & _SHARED))
        at += nbytes
