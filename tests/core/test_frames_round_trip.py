"""zstd frames come back byte for byte from their content and a recipe, whatever made them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta.frames import content_size, frame_size, unfold
from git_theta.frames.sequences import _KINDS
from made_frames import (
    COMPRESSED,
    HEADER,
    RAW,
    RLE,
    assert_given_back,
    block,
    blocks,
    compress,
    literals,
)

LEVELS = (-5, -1, 1, 2, 3, 5, 7, 9, 12, 15, 17, 19, 22)


def _floats(seed: int, size: int) -> np.ndarray:
    numbers: np.ndarray = np.random.default_rng(seed).standard_normal(size // 8 + 1)
    return 0.05 * numbers


def _words(seed: int, size: int) -> bytes:
    rng = np.random.default_rng(seed)
    words = [bytes(rng.integers(97, 123, n, dtype=np.uint8)) for n in rng.integers(1, 12, 300)]
    return b" ".join(words[n] for n in rng.zipf(1.3, size // 4) % 300)[:size]


KINDS: dict[str, Callable[[int, int], bytes]] = {
    "zeros": lambda _, size: bytes(size),
    "random": lambda seed, size: np.random.default_rng(seed).bytes(size),
    "text": _words,
    "F16": lambda seed, size: _floats(seed, size).astype("<f2").tobytes(),
    "F32": lambda seed, size: _floats(seed, size).astype("<f4").tobytes(),
    "F64": lambda seed, size: _floats(seed, size).tobytes(),
    "BF16": lambda seed, size: (
        (_floats(seed, size).astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    ),
    "BF16 as F32": lambda seed, size: (
        _floats(seed, size).astype("<f4").view("<u4") & 0xFFFF0000
    ).tobytes(),
    "I8": lambda seed, size: (100 * _floats(seed, size)).astype("i1").tobytes(),
    "I64": lambda seed, size: np.arange(seed, seed + size // 8).tobytes(),
    "few values": lambda seed, size: bytes(
        np.random.default_rng(seed).geometric(0.7, size).astype(np.uint8)
    ),
    "mostly zero": lambda seed, size: (
        (_floats(seed, size) * (np.random.default_rng(seed).random(size // 8 + 1) < 0.1))
        .astype("<f4")
        .tobytes()
    ),
}


@st.composite
def contents(draw: st.DrawFn, most: int = 2**18) -> bytes:
    pieces = st.tuples(st.sampled_from(sorted(KINDS)), st.integers(0, 9), st.integers(0, most))
    return b"".join(
        KINDS[kind](seed, size) for kind, seed, size in draw(st.lists(pieces, max_size=3))
    )


@settings(max_examples=60)
@given(contents(), st.sampled_from(LEVELS), st.booleans(), st.booleans())
def test_any_level_with_and_without_checksum_and_size(
    content: bytes, level: int, checksum: bool, size: bool
) -> None:
    frame = compress(content, level, write_checksum=checksum, write_content_size=size)
    assert_given_back(frame, content)


@settings(max_examples=60)
@given(
    contents(),
    st.integers(zstandard.STRATEGY_FAST, zstandard.STRATEGY_BTULTRA2),
    st.integers(10, 25),
    st.booleans(),
    st.integers(3, 7),
    st.sampled_from((0, 1340, 5000, 60_000)),
)
def test_any_strategy_with_any_window_and_distant_matches(
    content: bytes, strategy: int, window: int, distant: bool, shortest: int, target: int
) -> None:
    options = zstandard.ZstdCompressionParameters(
        compression_level=3,
        strategy=strategy,
        window_log=window,
        enable_ldm=distant,
        min_match=shortest,
        target_length=target // 100,
    )
    frame = zstandard.ZstdCompressor(compression_params=options).compress(content)
    assert_given_back(frame, content)


@settings(max_examples=60)
@given(st.lists(contents(most=30_000), max_size=8), st.sampled_from(LEVELS[:-1]))
def test_blocks_of_any_length_that_use_tables_again(pieces: list[bytes], level: int) -> None:
    assert_given_back(_in_blocks(pieces, level), b"".join(pieces))


def _in_blocks(pieces: list[bytes], level: int) -> bytes:
    """A frame in which each piece begins a block; from level 21 on its window is too long."""
    compressor = zstandard.ZstdCompressor(level=level).compressobj()
    found = [
        compressor.compress(piece) + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        for piece in pieces
    ]
    return b"".join([*found, compressor.flush()])


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_several_full_blocks_of_every_kind_of_content(kind: str) -> None:
    content = KINDS[kind](1, 700_000)
    assert_given_back(compress(content, 1), content)


@pytest.mark.parametrize("size", [0, 1, 2, 5, 6, 63, 64, 255, 256, 2**17 - 1, 2**17, 2**17 + 1])
def test_lengths_around_every_limit(size: int) -> None:
    for kind in ("few values", "random", "zeros"):
        content = KINDS[kind](0, size)[:size]
        assert len(content) == size
        assert_given_back(compress(content), content)


def test_every_way_to_have_literals_is_met() -> None:
    rng = np.random.default_rng(0)
    skewed = bytes(rng.geometric(0.2, 60_000).astype(np.uint8))
    frame = _in_blocks([skewed[n : n + 300] for n in range(0, 60_000, 300)], 1)
    assert {"coded", "treeless"} <= set(literals(frame))
    assert_given_back(frame, skewed)
    repeated = bytes(rng.integers(0, 9, 12, dtype=np.uint8)) * 9
    assert literals(compress(repeated)) == ["raw"]
    assert_given_back(compress(repeated), repeated)


def test_literals_that_are_all_the_same_byte() -> None:
    """No sequence: the literals are the content. libzstd would have written an RLE block."""
    frame = HEADER + block(COMPRESSED, 3, bytes([5 << 3 | 1, 65, 0]))
    recipe = assert_given_back(frame, b"A" * 5)
    assert recipe.endswith(frame)


def test_a_tree_is_used_again_after_a_block_without_one() -> None:
    tree, stream = b"\x80\x10", b"\x0f\x01"  # the bytes 0 and 1, a bit each; 0 0 0 0 1 1 1 1
    first = (2 | 8 << 4 | len(tree + stream) << 14).to_bytes(3, "little") + tree + stream + b"\0"
    again = (3 | 8 << 4 | len(stream) << 14).to_bytes(3, "little") + stream + b"\0"
    frame = HEADER + block(COMPRESSED, len(first), first, last=False)
    frame += block(RAW, 1, b"x", last=False) + block(COMPRESSED, len(again), again)
    assert literals(frame) == ["coded", "treeless"]
    recipe = assert_given_back(
        frame, bytes([0, 0, 0, 0, 1, 1, 1, 1, *b"x", 0, 0, 0, 0, 1, 1, 1, 1])
    )
    assert len(recipe) == 24 + len(frame) - 2 * len(stream) - 1


def test_blocks_of_every_kind_without_a_compressor() -> None:
    frame = HEADER + block(RAW, 3, b"abc", last=False) + block(RLE, 2**17, b"z", last=False)
    frame += block(RAW, 0)
    assert [kind for kind, _ in blocks(frame)] == [RAW, RLE, RAW]
    recipe = assert_given_back(frame, b"abc" + b"z" * 2**17)
    assert len(recipe) == 24 + len(frame) - 3


def test_the_distributions_that_need_no_description_are_those_of_the_format() -> None:
    """RFC 8878, section 3.1.1.3.2.2: all add up to the size of their table."""
    for kind in _KINDS:
        assert sum(map(abs, kind.counts)) == 1 << kind.counts_accuracy
        assert len(kind.counts) <= len(kind.codes)


def test_the_example_of_the_specification() -> None:
    content = b"abcdefgh" * 3
    frame = bytes.fromhex("28b52ffd20187500004061626364656667680100430a17")
    recipe = bytes.fromhex(
        "4754485a53544431 1700000000000000 1800000000000000 28b52ffd2018750000400100430a17"
    )
    assert assert_given_back(frame, content) == recipe
    page = Path(__file__).parents[2] / "docs/spec/zstd-recipe-v1.md"
    told = "".join(page.read_text("utf-8").split())
    assert "`4754485a53544431`,`1700000000000000`,`1800000000000000`" in told
    assert "`28b52ffd2018750000400100430a17`" in told


_RECIPE = (
    "4754485a535444319f00000000000000350200000000000028b52ffd6435018d0400524b150bb0b50d64d22d"
    "a4e529810817a820180f1bfb9f01101a0142501f10b8deffffff0d1e179900d38fde0bd2479e17d8488a6986"
    "14b0b090c226e6014a035267a054406104291b5dc31b"
)
_FRAME = (
    "28b52ffd6435018d0400524b150bb0b50d64d22da4e52981086fb9ee2865902819eba4e82951c4ba36d82186"
    "275ce1a15977dac1496e2fbd3d7cbde88865263ac4d369304b4d79b5c8ad39c70661f2a9a38fc7110eb2c47c"
    "b4f492cb27eeaee50d0217a820180f1bfb9f01101a0142501f10b8deffffff0d1e179900d38fde0bd2479e17"
    "d8488a698614b0b090c226e6014a035267a054406104291b5dc31b"
)


def test_a_recipe_of_version_1_stays_as_it_is() -> None:
    """A Huffman code with compressed weights, FSE tables of all kinds, a checksum."""
    content = " ".join(str(n**2 % 97) for n in range(200)).encode()
    recipe, frame = bytes.fromhex(_RECIPE), bytes.fromhex(_FRAME)
    assert zstandard.decompress(frame) == content
    assert assert_given_back(frame, content) == recipe


class _Endless:
    """A frame of 3 GB that lies nowhere: raw blocks, all alike but for the last."""

    block = block(RAW, 2**17, bytes(range(256)) * 2**9, last=False)
    blocks = 3 * 10**9 // len(block)
    size = len(HEADER) + blocks * len(block) + 3

    def read(self, offset: int, nbytes: int) -> bytes:
        start, end = offset - len(HEADER), offset + nbytes - len(HEADER)
        first = max(start, 0) // len(self.block)
        some = self.block * (-(-end // len(self.block)) - first)
        at = first * len(self.block)
        if end > self.blocks * len(self.block):
            some = some[: self.blocks * len(self.block) - at] + block(RAW, 0)
        if start < 0:
            return HEADER[start:] + some[:end]
        return some[start - at : end - at]


def test_memory_does_not_grow_with_the_frame() -> None:
    frame, written = _Endless(), 0

    def write(content: bytes) -> None:
        nonlocal written
        written += len(content)

    tracemalloc.start()
    try:
        recipe = unfold(frame, write)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert recipe is not None
    assert frame_size(recipe) == frame.size
    assert content_size(recipe) == written == frame.blocks * 2**17
    assert peak < 8 * 2**20
