"""Blocks of a frame, without the bytes that follow from its content.

A block's *gap* is left out: a raw block, raw literals, or Huffman-coded literals. All else of it is
kept, and suffices to write the gap again from the content (RFC 8878, sections 3.1.1.2 and 3.1.1.3).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from git_theta.errors import PackError
from git_theta.frames.huffman import Code, description_bytes, read_code
from git_theta.frames.sequences import Tables, read_sequences
from git_theta.frames.streams import encode

LARGEST = 128 * 2**10
"""Bytes that a block has at most, and that it decodes to at most."""


class Parts(Protocol):
    """What a frame is read from: itself, or what was kept of it."""

    def take(self, nbytes: int) -> bytes:
        """The next bytes, which are kept."""

    def pass_over(self, nbytes: int) -> None:
        """Bytes follow that are not kept."""


@dataclass(slots=True)
class Before:
    """What a block may use again of those before it."""

    code: Code | None = None
    tables: Tables = field(default_factory=Tables)


@dataclass(frozen=True, slots=True)
class Block:
    """What is kept of a block, and how its gap is made."""

    head: bytes
    """All before the gap."""
    gap: int
    """Bytes that are left out."""
    tail: bytes
    """All after the gap."""
    nbytes: int
    """Bytes of the content."""
    last: bool
    """Whether the frame ends with it."""
    code: Code | None = None
    """The code of its literals; None if they are as they are."""
    streams: int = 1
    """Streams of coded literals."""
    runs: NDArray[np.int64] | None = None
    """Literals, match, literals, match... in bytes; None if all are literals."""

    def written(self, content: bytes | memoryview) -> bytes:
        """The block, of which ``content`` is the content.

        Raises
        ------
        PackError
            When the content is not one that this block can have.
        """
        if len(content) != self.nbytes:
            raise PackError(f"Expected a block of {self.nbytes} bytes, found {len(content)}")
        if not self.gap:
            return self.head + self.tail
        literals = np.frombuffer(content, np.uint8)
        if self.runs is not None:
            kind = np.arange(len(self.runs)) % 2 == 0
            literals = literals[np.repeat(kind, self.runs)]
        coded = literals.tobytes()
        if self.code is not None:
            coded = encode(literals, self.code, self.streams)
        if len(coded) != self.gap:
            raise PackError(f"Expected literals of {self.gap} bytes, found {len(coded)}")
        return b"".join([self.head, coded, self.tail])


def read_block(parts: Parts, before: Before) -> Block:
    """Read a block; what later ones may use again is noted in ``before``.

    Raises
    ------
    PackError
        When it is malformed.
    """
    head = parts.take(3)
    header = int.from_bytes(head, "little")
    last, kind, nbytes = bool(header & 1), header >> 1 & 3, header >> 3
    if nbytes > LARGEST or kind == 3:
        raise PackError(f"Expected a block of at most {LARGEST} bytes, found {nbytes} of {kind}")
    if kind == 2:
        return _read_compressed(head, nbytes, last, parts, before)
    if kind == 1:
        return Block(head + parts.take(1), 0, b"", nbytes, last)
    parts.pass_over(nbytes)
    return Block(head, nbytes, b"", nbytes, last)


def _read_compressed(head: bytes, nbytes: int, last: bool, parts: Parts, before: Before) -> Block:
    """Read a block that consists of literals and sequences."""
    first = parts.take(1)
    kind, form = first[0] & 3, first[0] >> 2 & 3
    if kind < 2:
        more, bits, shift = ((0, 5, 3), (1, 12, 4), (0, 5, 3), (2, 20, 4))[form]
    else:
        more, bits, shift = ((2, 10, 4), (2, 10, 4), (3, 14, 4), (4, 18, 4))[form]
    told = first + parts.take(more)
    sizes = int.from_bytes(told, "little") >> shift
    literals = sizes & (1 << bits) - 1
    code, streams, gap, tree = None, 1, literals, b""
    if kind == 1:
        gap, tree = 0, parts.take(1)
    elif kind > 1:
        streams, gap = 4 if form else 1, sizes >> bits
        if kind == 2:
            start = parts.take(1)
            tree = start + parts.take(description_bytes(start[0]) - 1)
            gap -= len(tree)
            before.code = read_code(tree)
        code = before.code
        if code is None:
            raise PackError("Expected a Huffman code, found a block that uses the one before")
    rest = nbytes - len(told) - len(tree) - gap
    if literals > LARGEST or gap < 0 or rest < 0:
        raise PackError(f"Expected {literals} literals, found a block of {nbytes} bytes")
    parts.pass_over(gap)
    tail = parts.take(rest)
    runs = _runs(read_sequences(tail, before.tables), literals)
    size = literals if runs is None else int(runs.sum())
    if size > LARGEST:
        raise PackError(f"Expected a block of at most {LARGEST} bytes, found {size}")
    return Block(head + told + tree, gap, tail, size, last, code, streams, runs)


def _runs(sequences: list[int], literals: int) -> NDArray[np.int64] | None:
    """Lengths of literals and matches in turn; the last are the literals that are left."""
    if not sequences:
        return None
    runs = np.array([*sequences, 0], np.int64)
    runs[-1] = literals - runs[::2].sum()
    if runs[-1] < 0:
        raise PackError(f"Expected {literals} literals, found sequences that have more")
    return runs
