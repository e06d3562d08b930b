"""The sequences of a block, as far as they say which bytes of its content are literals.

A sequence is a run of literals and a match: bytes that are copied from before. Where a match is
copied from is told by offsets, whose bits are passed over: the content is known here already.
RFC 8878, section 3.1.1.3.2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from git_theta.errors import PackError
from git_theta.frames.fse import Table, always, payload_bits, read_table, spread

Cells = list[tuple[int, int, int, int]]
"""For each state: the value's base and its extra bits, and for the next state its base and bits."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """One of the three numbers of a sequence."""

    name: str
    codes: tuple[tuple[int, int], ...]
    """The base and the extra bits of each code."""
    accuracy: int
    """The most bits that tell a state."""
    counts: tuple[int, ...]
    """The distribution that is used where a block tells none."""
    counts_accuracy: int


def _codes(start: int, first: int, bits: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """So many codes of one value each from ``start`` on, then of two to the power of ``bits``."""
    found = [(start + n, 0) for n in range(first)]
    at = start + first
    for width in bits:
        found.append((at, width))
        at += 1 << width
    return tuple(found)


_LITERALS = _Kind(
    "literal lengths",
    (*_codes(0, 16, (1, 1, 1, 1, 2, 2, 3, 3, 4)), *((1 << n, n) for n in range(6, 17))),
    9,
    (4, 3, *[2] * 11, 1, 1, 1, *[2] * 9, 3, 2, *[1] * 5, *[-1] * 4),
    6,
)
_MATCHES = _Kind(
    "match lengths",
    (*_codes(3, 32, (1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5)), *((3 + (1 << n), n) for n in range(7, 17))),
    9,
    (1, 4, 3, *[2] * 6, *[1] * 37, *[-1] * 7),
    6,
)
_OFFSETS = _Kind(
    "offsets",
    tuple((1 << n, n) for n in range(32)),
    8,
    (*[1] * 6, 2, 2, 2, *[1] * 15, *[-1] * 5),
    5,
)
_KINDS = (_LITERALS, _OFFSETS, _MATCHES)  # in the order of their tables


@dataclass(slots=True)
class Tables:
    """The tables of the last block that had sequences: a block may repeat them."""

    last: list[tuple[int, Cells] | None] = field(default_factory=lambda: [None] * len(_KINDS))
    """Accuracy and states of each kind."""


def read_sequences(section: bytes, tables: Tables) -> tuple[list[int], list[int]]:
    """The literals before each match, and the length of each match, of a sequences section.

    Raises
    ------
    PackError
        When the section is malformed.
    """
    count, at = _read_count(section)
    if not count:
        if at != len(section):
            raise PackError("Expected a block without sequences to end, found more bytes")
        return [], []
    modes = section[at : at + 1]
    if not modes or modes[0] & 3:
        raise PackError("Expected how sequences are coded, found none or a reserved bit")
    at += 1
    for number, kind in enumerate(_KINDS):
        mode = modes[0] >> 6 - 2 * number & 3
        if mode != 3:
            states, used = _read_states(kind, mode, section[at:])
            tables.last[number] = states
            at += used
    return _decode(section[at:], count, tables)


def _read_count(section: bytes) -> tuple[int, int]:
    """How many sequences there are, and in how many bytes that is told."""
    first, second, third = (*section[:3], -1, -1, -1)[:3]
    if 0 <= first < 128:
        return first, 1
    if 128 <= first < 255 and second >= 0:
        return (first - 128 << 8) + second, 2
    if first == 255 and third >= 0:
        return second + (third << 8) + 0x7F00, 3
    raise PackError("Expected a number of sequences, found the end of the block")


def _read_states(kind: _Kind, mode: int, data: bytes) -> tuple[tuple[int, Cells], int]:
    """The states of a kind, and the bytes that told them."""
    if mode == 0:
        return _predefined(kind), 0
    if mode == 2:
        table, used = read_table(data, accuracy=kind.accuracy, symbols=len(kind.codes))
        return _states(kind, table), used
    if not data or data[0] >= len(kind.codes):
        raise PackError(f"Expected a code of {kind.name}, found {data[:1].hex() or 'nothing'}")
    return _states(kind, always(data[0])), 1


@cache
def _predefined(kind: _Kind) -> tuple[int, Cells]:
    return _states(kind, spread(kind.counts, kind.counts_accuracy))


def _states(kind: _Kind, table: Table) -> tuple[int, Cells]:
    cells = [(*kind.codes[symbol], bits, base) for symbol, bits, base in table.cells]
    return table.accuracy, cells


def _decode(stream: bytes, count: int, tables: Tables) -> tuple[list[int], list[int]]:
    """Decode the bits; of each sequence they are read at once, 89 of them at most."""
    known = [one for one in tables.last if one]
    if len(known) < len(_KINDS):
        raise PackError("Expected tables of sequences to repeat, found none before")
    (lit_log, lit_cells), (off_log, off_cells), (match_log, match_cells) = known
    left = payload_bits(stream) - lit_log - off_log - match_log
    if left < 0:
        raise PackError("Expected the states of sequences, found too few bits")
    bits = _bits(stream, left)
    match = bits & (1 << match_log) - 1
    off = bits >> match_log & (1 << off_log) - 1
    lit = bits >> match_log + off_log & (1 << lit_log) - 1
    runs, matches = [], []
    for number in range(count):
        lit_base, lit_extra, lit_bits, lit_next = lit_cells[lit]
        _, off_extra, off_bits, off_next = off_cells[off]
        match_base, match_extra, match_bits, match_next = match_cells[match]
        if number == count - 1:  # no state follows
            lit_bits = off_bits = match_bits = 0
        left -= off_extra + match_extra + lit_extra + lit_bits + match_bits + off_bits
        if left < 0:
            raise PackError(f"Expected {count} sequences, found bits of {number}")
        bits = _bits(stream, left)
        off = off_next + (bits & (1 << off_bits) - 1)
        bits >>= off_bits
        match = match_next + (bits & (1 << match_bits) - 1)
        bits >>= match_bits
        lit = lit_next + (bits & (1 << lit_bits) - 1)
        bits >>= lit_bits
        runs.append(lit_base + (bits & (1 << lit_extra) - 1))
        matches.append(match_base + (bits >> lit_extra & (1 << match_extra) - 1))
    if left:
        raise PackError(f"Expected {count} sequences, found {left} bits after them")
    return runs, matches


def _bits(stream: bytes, at: int) -> int:
    """The bits of a stream from ``at`` on, more than 89 of them if there are."""
    return int.from_bytes(stream[at >> 3 : (at >> 3) + 16], "little") >> (at & 7)
