"""git's pkt-line protocol, as the long-running filter speaks it.

A packet is four hex digits of length, then at most 65516 bytes; ``0000`` is a flush. Source:
gitprotocol-common(5), gitattributes(5) "Long Running Filter Process".
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property

from git_theta.errors import GitError

MAX_PACKET = 65516
_SIZE = 4 + MAX_PACKET
_FULL = b"%04x" % _SIZE
_AT_ONCE = 16  # full packets that are read at once
_BUFFER = _AT_ONCE * _SIZE


class HungUp(Exception):
    """git went away: there is nobody to tell."""


class PutOff(Exception):
    """A request is answered later: git shall ask for the file again."""


class PacketReader:
    """Reads packets from a file descriptor in large gulps.

    git fills its packets when it sends a file, so their payloads are read to where they lie side
    by side, as many as there are; other packets are looked at one by one.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._data = bytearray(_BUFFER)
        self._view = memoryview(self._data)
        self._start = self._end = 0

    def _fill(self, nbytes: int) -> bool:
        """Have at least ``nbytes`` bytes in the buffer; False at the end of the stream."""
        while self._end - self._start < nbytes:
            if self._start + nbytes > _BUFFER or self._start == self._end:
                left = bytes(self._view[self._start : self._end])
                self._data[: len(left)] = left
                self._start, self._end = 0, len(left)
            count = os.readv(self._fd, [self._view[self._end :]])
            if not count:
                return False
            self._end += count
        return True

    def packet(self) -> memoryview | None:
        """The next packet's payload, valid until the next call; None for a flush.

        Raises
        ------
        EOFError
            When the stream ends before a packet begins.
        GitError
            When it ends inside one, or is no pkt-line stream.
        """
        if not self._fill(4):
            if self._end > self._start:
                raise GitError("Expected a packet from git, found the end of the stream")
            raise EOFError
        try:
            length = int(bytes(self._view[self._start : self._start + 4]), 16)
        except ValueError as fault:
            raise GitError(f"Expected a packet from git, found {fault}") from fault
        self._start += 4
        if length == 0:
            return None
        if not 4 <= length <= MAX_PACKET + 4 or not self._fill(length - 4):
            raise GitError(f"Expected a packet of {length} bytes from git, found less")
        payload = self._view[self._start : self._start + length - 4]
        self._start += length - 4
        return payload

    def lines(self) -> list[str]:
        """Text packets until the next flush, without their newlines."""
        found = []
        while (packet := self.packet()) is not None:
            found.append(os.fsdecode(bytes(packet)).removesuffix("\n"))
        return found

    def content(self) -> Iterator[memoryview]:
        """What binary packets until the next flush hold, each part valid until the next one."""
        while True:
            head = self._view[self._start : self._end][:4]
            if head in (b"", _FULL) and (full := self._full_packets()):
                yield full
            elif (packet := self.packet()) is None:
                return
            else:
                yield packet

    @cached_property
    def _slots(self) -> tuple[memoryview, memoryview, list[memoryview]]:
        """Where lengths of full packets are put, and their payloads; both in the order of git's."""
        lengths = memoryview(bytearray(4 * _AT_ONCE))
        payloads = memoryview(bytearray(MAX_PACKET * _AT_ONCE))
        parts: list[memoryview] = []
        for at in range(_AT_ONCE):
            parts.append(lengths[4 * at :][:4])
            parts.append(payloads[MAX_PACKET * at :][:MAX_PACKET])
        return lengths, payloads, parts

    def _full_packets(self) -> memoryview:
        """Payloads of the full packets that come next; other packets are in the buffer then."""
        lengths, payloads, parts = self._slots
        got, full, other = self._end - self._start, 0, False
        left = _copied(self._view[self._start : self._end], parts)
        while True:
            while full < _AT_ONCE and got >= full * _SIZE + 4 and not other:
                other = lengths[4 * full :][:4] != _FULL
                full += not other
            if other or not left or not (count := os.readv(self._fd, left)):
                break
            got += count
            left = _without(left, count)
        full = min(full, got // _SIZE)
        self._start = self._end = 0
        for part in parts[2 * full :]:
            rest = part[: got - full * _SIZE - self._end]
            if not rest:
                break
            self._view[self._end : self._end + len(rest)] = rest
            self._end += len(rest)
        return payloads[: full * MAX_PACKET]


class PacketWriter:
    """Writes packets to a file descriptor; raises :class:`HungUp` where nobody reads them."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def lines(self, *lines: str) -> None:
        """Text packets and a flush."""
        packets = [b"%04x%s" % (len(line) + 4, line) for line in map(_encode, lines)]
        self._write(b"".join([*packets, b"0000"]))

    def content(self, data: bytes | memoryview) -> None:
        """Binary packets, no flush."""
        view = memoryview(data)
        packets: list[bytes | memoryview] = []
        for start in range(0, len(view), MAX_PACKET):
            payload = view[start : start + MAX_PACKET]
            packets += [b"%04x" % (len(payload) + 4), payload]
            if len(packets) >= 64:
                self._writev(packets)
                packets = []
        if packets:
            self._writev(packets)

    def flush(self) -> None:
        """A flush."""
        self._write(b"0000")

    def _write(self, data: bytes) -> None:
        self._writev([data])

    def _writev(self, parts: list[bytes | memoryview]) -> None:
        total = sum(len(part) for part in parts)
        try:
            written = os.writev(self._fd, parts)
            if written < total:
                rest = memoryview(b"".join(parts))[written:]
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
        except BrokenPipeError as fault:
            raise HungUp from fault


def _copied(data: memoryview, parts: list[memoryview]) -> list[memoryview]:
    """Copy data to the first of some places; gives what is left of them."""
    at = 0
    for part in parts:
        piece = data[at : at + len(part)]
        if not piece:
            break
        part[: len(piece)] = piece
        at += len(piece)
    return _without(parts, at)


def _without(parts: list[memoryview], nbytes: int) -> list[memoryview]:
    """What is left of places, after so many bytes were put there."""
    for at, part in enumerate(parts):
        if nbytes < len(part):
            return [part[nbytes:], *parts[at + 1 :]]
        nbytes -= len(part)
    return []


def _encode(line: str) -> bytes:
    return os.fsencode(line) + b"\n"
