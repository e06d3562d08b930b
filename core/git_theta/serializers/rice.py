"""Rice codes: small numbers of few elements, where a Huffman code's table would cost too much.

What is left of a short group after its base was subtracted are a few hundred numbers around zero,
sorted by how large they may be. Each takes its low k bits as they are and what is above them in
unary; k follows the numbers, 16 at a time (R. F. Rice, JPL 79-22, 1979). Everything is computed for
many blocks at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from git_theta.dtypes import scalar_bytes
from git_theta.errors import PackError
from git_theta.serializers.interface import Serializer

RUN = 16
"""Numbers that share a k."""
MAX_K = 56
"""So that the low bits lie in eight bytes, at whatever bit they begin."""
BLOCK = 2**16
"""Numbers of a full block."""

Ints = NDArray[np.int64]


class Rice(Serializer):
    """Numbers as unsigned integers in Rice codes; see docs/spec/pack-v1.md for the bits."""

    name = "rice"

    def block_bytes(self, dtype: str) -> int:
        """65,536 numbers."""
        return BLOCK * scalar_bytes(dtype)

    def encode(self, block: bytes | memoryview, dtype: str) -> bytes:
        """Encode one block."""
        return _encode(block, [len(block)], dtype)[0] if len(block) else b""

    def decode(self, data: bytes | memoryview, dtype: str, nbytes: int) -> memoryview:
        """Undo :meth:`encode`; errors as the interface says."""
        if not nbytes and not len(data):
            return memoryview(b"")
        return _decode(data, [len(data)], [nbytes], dtype)

    def encode_blocks(
        self, data: bytes | memoryview, sizes: Sequence[int], dtype: str
    ) -> tuple[bytes, list[int]]:
        """Encode many blocks at once."""
        view, at = memoryview(data), 0
        pieces: list[bytes | memoryview] = []
        stored: list[int] = []
        for some in _together(sizes, self.block_bytes(dtype)):
            plain = view[at : at + sum(some)]
            at += len(plain)
            coded, lengths = _encode(plain, some, dtype)
            if all(map(int.__lt__, lengths, some)):
                pieces.append(coded)
            else:
                pieces += _shorter(memoryview(coded), lengths, plain, some)
            stored += map(min, lengths, some)
        return b"".join(pieces), stored

    def decode_blocks(
        self,
        data: bytes | memoryview,
        lengths: Sequence[int],
        sizes: Sequence[int],
        dtype: str,
    ) -> bytes | memoryview:
        """Decode many blocks at once, where all of them are encoded."""
        if any(map(int.__eq__, lengths, sizes)):
            return super().decode_blocks(data, lengths, sizes, dtype)
        view, at, done, pieces = memoryview(data), 0, 0, []
        for some in _together(sizes, self.block_bytes(dtype)):
            stored = lengths[done : done + len(some)]
            pieces.append(_decode(view[at : at + sum(stored)], stored, some, dtype))
            at, done = at + sum(stored), done + len(some)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _together(sizes: Sequence[int], most: int) -> Iterator[Sequence[int]]:
    """The sizes of blocks to work on at once, so many bytes of them: memory is bounded."""
    first = nbytes = 0
    for end, size in enumerate(sizes):
        if end > first and nbytes + size > most:
            yield sizes[first:end]
            first, nbytes = end, 0
        nbytes += size
    yield sizes[first:]


def _shorter(
    coded: memoryview, lengths: Sequence[int], plain: memoryview, sizes: Sequence[int]
) -> Iterator[memoryview]:
    """Each block encoded, or as it is where that is no longer."""
    at = start = 0
    for length, size in zip(lengths, sizes, strict=True):
        yield coded[at : at + length] if length < size else plain[start : start + size]
        at, start = at + length, start + size


class _Runs:
    """Where the numbers of blocks and their runs lie; each starts anew in every block."""

    def __init__(self, sizes: Sequence[int], dtype: str) -> None:
        width = scalar_bytes(dtype)
        nbytes = np.array(sizes, np.int64)
        if (nbytes % width).any():
            raise PackError(f"Expected whole numbers of {dtype}, found {sizes} bytes of them")
        self.counts = nbytes // width
        """Numbers of each block."""
        self.runs = -(-self.counts // RUN)
        """Runs of each block."""
        self.first = _starts(self.counts)
        """First number of each block."""
        self.first_run = _starts(self.runs)
        """First run of each block."""
        inner = np.arange(self.runs.sum()) - np.repeat(self.first_run, self.runs)
        self.starts = np.repeat(self.first, self.runs) + RUN * inner
        """First number of each run."""
        self.lengths = np.diff(self.starts, append=self.counts.sum())
        """Numbers of each run."""
        steps = self.runs - 1 + self.counts
        self.steps = steps
        """Unary codes of each block: of the steps from k to k, then of the numbers."""
        self.of_numbers = np.arange(self.counts.sum()) + np.repeat(
            np.cumsum(self.runs - 1), self.counts
        )
        """Which code of all is each number's."""
        later = np.ones(self.runs.sum(), bool)
        later[self.first_run] = False
        self.later = np.flatnonzero(later)
        """The runs that are not the first of a block."""
        block = np.repeat(np.arange(len(self.runs)), self.runs)[self.later]
        self.of_runs = self.later - block - 1 + self.first[block]
        """Which code of all is the step to each of them."""


def _starts(counts: Ints) -> Ints:
    ends: Ints = np.cumsum(counts)
    return ends - counts


def _encode(data: bytes | memoryview, sizes: Sequence[int], dtype: str) -> tuple[bytes, list[int]]:
    """All blocks one after another, and the length of each in bytes."""
    runs = _Runs(sizes, dtype)
    words = np.frombuffer(data, f"<u{scalar_bytes(dtype)}").astype(np.uint64)
    k = _choose(words, runs, 8 * scalar_bytes(dtype))
    low = np.repeat(k, runs.lengths)
    above = (words >> low.astype(np.uint64)).astype(np.int64)
    steps = np.diff(k)[runs.later - 1]
    codes = np.empty(runs.steps.sum(), np.int64)
    codes[runs.of_numbers] = above
    codes[runs.of_runs] = np.where(steps < 0, -2 * steps - 1, 2 * steps)
    ends = np.cumsum(codes + 1)
    unary = np.add.reduceat(codes + 1, _starts(runs.steps))
    nbits = 8 + unary + np.add.reduceat(low, runs.first)
    lengths = -(-nbits // 8)
    begin = 8 * _starts(lengths)
    bits = np.zeros(8 * lengths.sum(), np.uint8)
    ones = ends - 1 + np.repeat(begin + 8 - (_starts(unary)), runs.steps)
    bits[ones] = 1
    _place(bits, _lowest(words, low), np.add.reduceat(low, runs.first), begin + 8 + unary)
    packed = np.packbits(bits, bitorder="little")
    packed[begin // 8] = k[runs.first_run]
    return packed.tobytes(), lengths.tolist()


def _lowest(words: NDArray[np.uint64], low: Ints) -> NDArray[np.uint8]:
    """The low bits of all numbers, one after another."""
    width = -(-int(low.max(initial=0)) // 8)
    some = np.ascontiguousarray(words.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :width])
    every = np.unpackbits(some, axis=1, bitorder="little")
    found: NDArray[np.uint8] = every[np.arange(8 * width) < low[:, np.newaxis]]
    return found


def _place(bits: NDArray[np.uint8], some: NDArray[np.uint8], counts: Ints, begin: Ints) -> None:
    """Put so many of the bits of each block where they begin in it."""
    at = 0
    for count, start in zip(counts.tolist(), begin.tolist(), strict=True):
        bits[start : start + count] = some[at : at + count]
        at += count


def _low_bits(low: Ints, runs: _Runs, begin: Ints) -> Ints:
    """At which bit the low bits of each number begin; ``begin``: those of each block."""
    at: Ints = np.cumsum(low) - low
    return at + np.repeat(begin - at[runs.first], runs.counts)


def _choose(words: NDArray[np.uint64], runs: _Runs, width: int) -> Ints:
    """The k of each run under which it takes the fewest bits."""
    mean = np.add.reduceat(words.astype(np.float64), runs.starts) / runs.lengths
    near = np.floor(np.log2(np.maximum(mean, 1))).astype(np.int64)
    best: Ints = near
    fewest = np.full(len(near), np.inf)
    for step in (0, -1, 1):
        k = np.clip(near + step, 0, min(MAX_K, width))
        shift = np.repeat(k, runs.lengths).astype(np.uint64)
        above = np.add.reduceat((words >> shift).astype(np.float64), runs.starts)
        nbits = above + (k + 1) * runs.lengths
        best, fewest = np.where(nbits < fewest, k, best), np.minimum(nbits, fewest)
    return best


def _decode(
    data: bytes | memoryview, lengths: Sequence[int], sizes: Sequence[int], dtype: str
) -> memoryview:
    width = scalar_bytes(dtype)
    for length, size in zip(lengths, sizes, strict=True):
        if not 0 < size <= min(8 * length, BLOCK) * width:  # a number takes a bit at least
            raise PackError(f"Expected {size} bytes in Rice codes, found {length} bytes of them")
    runs, stored = _Runs(sizes, dtype), np.frombuffer(data, np.uint8)
    nbytes = np.array(lengths, np.int64)
    begin = _starts(nbytes)
    ones = np.flatnonzero(np.unpackbits(stored, bitorder="little"))
    first = np.searchsorted(ones, 8 * begin + 8)
    at = np.repeat(first - _starts(runs.steps), runs.steps) + np.arange(runs.steps.sum())
    if at.max() >= len(ones):
        raise PackError("Expected Rice codes, found a block that ends too early")
    ends = ones[at]
    before = np.empty_like(ends)
    before[1:] = ends[:-1]
    before[_starts(runs.steps)] = 8 * begin + 7
    codes = ends - before - 1
    k = _read_k(stored[begin], codes, runs, 8 * width)
    low = np.repeat(k, runs.lengths)
    low_at = _low_bits(low, runs, ends[np.cumsum(runs.steps) - 1] + 1)
    last = np.cumsum(runs.counts) - 1
    if (-(-(low_at[last] + low[last]) // 8) != begin + nbytes).any():
        raise PackError("Expected Rice codes, found a block of another length")
    above = codes[runs.of_numbers].astype(np.uint64)
    shift = low.astype(np.uint64)
    limit = np.uint64(2 ** (8 * width) - 1)
    if (above > limit >> shift).any():
        raise PackError(f"Expected Rice codes, found a number of more than {8 * width} bits")
    words = (above << shift) | (
        _eight_bytes(stored, low_at) & ((np.uint64(1) << shift) - np.uint64(1))
    )
    return memoryview(words.astype(f"<u{width}")).cast("B")


def _read_k(first: NDArray[np.uint8], codes: Ints, runs: _Runs, width: int) -> Ints:
    """The k of each run, from those that open blocks and the steps between."""
    steps = codes[runs.of_runs]
    k: Ints = np.empty(runs.runs.sum(), np.int64)
    k[runs.first_run] = first
    k[runs.later] = np.where(steps & 1, -(steps >> 1) - 1, steps >> 1)
    total: Ints = np.cumsum(k)
    k = total - np.repeat(total[runs.first_run] - first, runs.runs)
    if k.min() < 0 or k.max() > min(MAX_K, width):
        raise PackError(f"Expected Rice codes, found one of {k.min()} to {k.max()} low bits")
    return k


def _eight_bytes(stored: NDArray[np.uint8], at: Ints) -> NDArray[np.uint64]:
    """The 64 bits that begin somewhere in the byte of each bit ``at``, from that bit on."""
    padded = np.concatenate([stored, np.zeros(8, np.uint8)])
    words: NDArray[np.uint64] = np.ndarray(len(stored) + 1, "<u8", padded, strides=(1,))
    found: NDArray[np.uint64] = words[at >> 3] >> (at & 7).astype(np.uint64)
    return found
