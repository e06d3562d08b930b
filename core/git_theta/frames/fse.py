"""FSE tables: how zstd's finite state entropy coder is told to a decoder, and its states.

RFC 8878, section 4.1. Tables are small (at most 512 states), so all of it is plain Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from git_theta.errors import PackError

_LONGEST = 128
"""Bytes that no description of a table reaches: 255 symbols, or 53 of 10 bits and their gaps."""


@dataclass(frozen=True, slots=True)
class Table:
    """The states of a decoder."""

    accuracy: int
    """The table has two to this power states; so many bits tell the first one."""
    cells: list[tuple[int, int, int]]
    """For each state its symbol, and for the next state how many bits are added to what."""


def payload_bits(stream: bytes) -> int:
    """How many bits a stream that is read from its end has below its final 1."""
    if not stream or not stream[-1]:
        raise PackError("Expected a bit stream that ends with a bit 1, found none")
    return 8 * len(stream) - 9 + stream[-1].bit_length()


def read_table(data: bytes, *, accuracy: int, symbols: int) -> tuple[Table, int]:
    """Read the description of a table that ``data`` begins with; returns how long it is as well.

    Parameters
    ----------
    data
        The description and whatever follows it.
    accuracy, symbols
        The most that the table may have.

    Raises
    ------
    PackError
        When it is malformed, or the table would be larger.
    """
    bits = int.from_bytes(data[:_LONGEST], "little")
    log = 5 + (bits & 15)
    if log > accuracy:
        raise PackError(f"Expected an FSE table of at most {accuracy} bits, found {log}")
    counts: list[int] = []
    left, at = 1 << log, 4
    while left > 0 and len(counts) < symbols:
        count, used = _read_count(bits >> at, left)
        at += used
        left -= abs(count)
        counts.append(count)
        repeat = 0 if count else 3
        while repeat == 3 and len(counts) < symbols:
            repeat = bits >> at & 3
            at += 2
            counts += [0] * repeat
    nbytes = -(-at // 8)
    if left or len(counts) > symbols or nbytes > len(data):
        raise PackError(f"Expected counts of {symbols} symbols that add up to {1 << log}")
    return spread(counts, log), nbytes


def _read_count(bits: int, left: int) -> tuple[int, int]:
    """One count, -1 for "less than 1", of those that may still come, and the bits it took."""
    width = (left + 1).bit_length()
    low = (1 << width - 1) - 1
    short = (1 << width) - 2 - left
    if bits & low < short:
        return (bits & low) - 1, width - 1
    value = bits & (1 << width) - 1
    return (value - short if value > low else value) - 1, width


def spread(counts: Sequence[int], accuracy: int) -> Table:
    """Lay out the states of symbols with these counts, which add up to the table's size."""
    size = 1 << accuracy
    symbols = [0] * size
    high = size
    for symbol, count in enumerate(counts):
        if count < 0:
            high -= 1
            symbols[high] = symbol
    at, step = 0, (size >> 1) + (size >> 3) + 3
    for symbol, count in enumerate(counts):
        for _ in range(count):
            symbols[at] = symbol
            at = at + step & size - 1
            while at >= high > 0:
                at = at + step & size - 1
    seen = [abs(count) for count in counts]
    cells = []
    for symbol in symbols:
        number = seen[symbol]
        seen[symbol] += 1
        bits = accuracy + 1 - number.bit_length()
        cells.append((symbol, bits, (number << bits) - size))
    return Table(accuracy, cells)


def always(symbol: int) -> Table:
    """The table of one state, which takes no bits."""
    return Table(0, [(symbol, 0, 0)])
