"""Huffman-coded literals as zstd writes them: one bit stream, or four and a table of their lengths.

A stream is read from its end, so that the first literal has the highest bits (RFC 8878, section
4.2.2). Codes are joined two by two and again, which makes at most 44 bits, and these are added to
the one or two words of 64 bits in which they lie. A stream at a time: what is worked on stays in
the processor's cache.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from git_theta.errors import PackError
from git_theta.frames.huffman import LENGTH, Code

_FEWEST = 6
"""Literals that four streams hold at least."""


def encode(literals: NDArray[np.uint8], code: Code, streams: int) -> bytes:
    """The literals in ``code`` as 1 or 4 streams, the latter with their jump table before them.

    Raises
    ------
    PackError
        When a literal has no code, or there are too few for four streams.
    """
    if streams == 1:
        return _stream(literals, code)
    if len(literals) < _FEWEST:
        raise PackError(f"Expected {_FEWEST} literals in {streams} streams, found {len(literals)}")
    each = -(-len(literals) // streams)
    coded = [_stream(literals[n * each : (n + 1) * each], code) for n in range(streams)]
    jumps = np.array([len(one) for one in coded[:-1]], "<u2")  # 45 KiB at most
    return b"".join([jumps.tobytes(), *coded])


def _stream(literals: NDArray[np.uint8], code: Code) -> bytes:
    """One stream; what says where it ends is a bit 1 above the others."""
    entries = np.zeros(len(literals) + -len(literals) % 4, np.uint32)
    found = entries[: len(literals)]
    np.take(code, literals[::-1], out=found, mode="clip")
    if found.min(initial=1 << LENGTH) < 1 << LENGTH:
        raise PackError("Expected literals that have a Huffman code, found one without")
    lengths = entries >> LENGTH
    entries &= (1 << LENGTH) - 1
    pairs = entries[::2] | entries[1::2] << lengths[::2]
    lengths = (lengths[::2] + lengths[1::2]).astype(np.uint64)
    pairs = pairs.astype(np.uint64)
    quads = pairs[::2] | pairs[1::2] << lengths[::2]
    lengths = lengths[::2] + lengths[1::2]
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    words = np.zeros(total // 64 + 2, "<u8")
    starts = ends - lengths
    shifts = starts & 63
    at = (starts >> 6).astype(np.intp)
    np.add.at(words, at, quads << shifts)
    np.add.at(words, at + 1, quads >> 1 >> 63 - shifts)  # what the first word has no room for
    words[total // 64] |= np.uint64(1 << total % 64)
    return words.tobytes()[: total // 8 + 1]
