"""Huffman codes of literals: from the description in a block to the bits of every byte.

RFC 8878, section 4.2.1. A description is a weight for each byte value; the last is implied.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from git_theta.errors import PackError
from git_theta.frames.fse import payload_bits, read_table

LONGEST = 11
"""Bits of the longest code."""
_SYMBOLS = 255
"""Weights that can be told; of the 256th byte value it is implied."""


Code = NDArray[np.uint32]
"""For each of the 256 byte values its code, and from bit 16 on its length: 0 where it has none."""
LENGTH = 16
"""The bit at which the length begins."""


def description_bytes(first: int) -> int:
    """How long a description is that begins with this byte, the byte included."""
    return 1 + (first if first < 128 else (first - 126) // 2)


def read_code(description: bytes) -> Code:
    """The code that a description tells.

    Raises
    ------
    PackError
        When it is malformed.
    """
    first, rest = description[0], description[1:]
    if first < 128:
        weights = _compressed_weights(rest)
    else:
        weights = [half for byte in rest for half in (byte >> 4, byte & 15)][: first - 127]
    if max(weights) > LONGEST:
        raise PackError(f"Expected weights of at most {LONGEST}, found {max(weights)}")
    total = sum([1 << weight >> 1 for weight in weights])
    bits = total.bit_length()
    implied = (1 << bits) - total
    if not 0 < bits <= LONGEST or implied & implied - 1:
        raise PackError("Expected a complete Huffman code, found weights that make none")
    return _assign([*weights, implied.bit_length()], bits)


def _assign(weights: Sequence[int], bits: int) -> Code:
    """Codes in sequence: the longest first, of one length by byte value."""
    weight = np.array(weights)
    order = np.argsort(weight, kind="stable")
    order = order[weight[order] > 0]
    lowered = weight[order] - 1
    spans = 1 << lowered
    starts = np.cumsum(spans) - spans
    code = np.zeros(256, np.uint32)
    code[order] = (starts >> lowered) | (bits - lowered) << LENGTH
    return code


def _compressed_weights(data: bytes) -> list[int]:
    """Weights in FSE code: two states that take turns until the bits are used up."""
    table, used = read_table(data, accuracy=6, symbols=_SYMBOLS)
    stream, cells = data[used:], table.cells
    left = payload_bits(stream) - 2 * table.accuracy
    if left < 0:
        raise PackError("Expected the states of Huffman weights, found too few bits")
    bits = int.from_bytes(stream, "little")
    state = bits >> left + table.accuracy & (1 << table.accuracy) - 1
    other = bits >> left & (1 << table.accuracy) - 1
    weights: list[int] = []
    for _ in range(_SYMBOLS - 1):
        symbol, width, base = cells[state]
        weights.append(symbol)
        left -= width
        if left < 0:  # its next state would need more bits than there are
            return [*weights, cells[other][0]]
        state, other = other, base + (bits >> left & (1 << width) - 1)
    raise PackError(f"Expected at most {_SYMBOLS} Huffman weights, found more")
