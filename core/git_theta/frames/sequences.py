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

Cells = list[tuple[int, int, int, int, int, int, int]]
"""For each state: the bits that are read in all; of the value, its base, how many bits are added,
and as many ones; of the next state the same."""


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


def read_sequences(section: bytes, tables: Tables) -> list[int]:
    """Of each sequence of a section, the literals before the match, then the match, in bytes.

    Raises
    ------
    PackError
        When the section is malformed.
    """
    count, at = _read_count(section)
    if not count:
        if at != len(section):
            raise PackError("Expected a block without sequences to end, found more bytes")
        return []
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
    cells = []
    for symbol, width, following in table.cells:
        base, extra = kind.codes[symbol]
        cells.append((extra + width, base, extra, _ones(extra), following, width, _ones(width)))
    return table.accuracy, cells


def _ones(count: int) -> int:
    return (1 << count) - 1


def _decode(stream: bytes, count: int, tables: Tables) -> list[int]:
    """Decode the bits: those of the values of a sequence lie above those of the next one's states.

    Where bits are missing, what is read is anything, but no state outside of its table: so this is
    looked at in the end. Up to 40,000 times a block, which is why a step is spelt out.
    """
    known = [one for one in tables.last if one]
    if len(known) < len(_KINDS):
        raise PackError("Expected tables of sequences to repeat, found none before")
    (run_log, run_cells), (off_log, off_cells), (match_log, match_cells) = known
    left = payload_bits(stream) - run_log - off_log - match_log
    if left < 0:
        raise PackError("Expected the states of sequences, found too few bits")
    bits = _bits(stream, left)
    match, bits = bits & _ones(match_log), bits >> match_log
    off, run = bits & _ones(off_log), bits >> off_log & _ones(run_log)
    runs: list[int] = []
    add = runs.append
    for _ in range(count - 1):
        all_run, base_run, more_run, extra_run, next_run, width_run, ones_run = run_cells[run]
        all_off, _, _, _, next_off, width_off, ones_off = off_cells[off]
        all_match, base, more, extra, next_match, width, ones = match_cells[match]
        left -= all_run + all_off + all_match
        at = left >> 3
        bits = int.from_bytes(stream[at : at + 8], "little") >> (left & 7)
        off = next_off + (bits & ones_off)
        bits >>= width_off
        match = next_match + (bits & ones)
        run = next_run + (bits >> width & ones_run)
        if more_run or more:
            bits = _bits(stream, left + width_off + width + width_run)
            base_run += bits & extra_run
            base += bits >> more_run & extra
        add(base_run)
        add(base)
    _, base_run, more_run, extra_run, *_ = run_cells[run]  # of the last one, no state follows
    _, base, more, extra, *_ = match_cells[match]
    left -= more_run + off_cells[off][2] + more
    bits = _bits(stream, left)
    runs += [base_run + (bits & extra_run), base + (bits >> more_run & extra)]
    if left:
        raise PackError(f"Expected {count} sequences to take all bits, found {left} left")
    return runs


def _bits(stream: bytes, at: int) -> int:
    """The bits of a stream from ``at`` on, at least 57 if it has them."""
    return int.from_bytes(stream[at >> 3 : (at >> 3) + 8], "little") >> (at & 7)
