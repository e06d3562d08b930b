"""Frames and recipes that lie are refused in bounded time and memory; the error says why."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from git_theta.errors import CheckpointError, PackError
from git_theta.frames import content_size, fold, frame_size, unfold
from git_theta.source import BytesSource
from made_frames import (
    COMPRESSED,
    HEADER,
    MAGIC,
    RAW,
    RESERVED,
    RLE,
    assert_given_back,
    block,
    compress,
    compressed,
    folded,
    unfolded,
)


def _content(seed: int) -> bytes:
    """Literals, matches and a Huffman code; short, so that every byte of the frame matters."""
    rng = np.random.default_rng(seed)
    skewed = bytes(rng.geometric(0.2, 700).astype(np.uint8))
    return skewed + skewed[100:200] + bytes(40) + skewed[300:350] + rng.bytes(20)


FRAMES = [compress(_content(n), level, write_checksum=False) for n, level in ((0, 1), (1, 19))]
OPENED = [unfolded(frame) for frame in FRAMES]


@settings(max_examples=400)
@given(st.sampled_from(FRAMES), st.integers(0, 2**30), st.integers(1, 255), st.booleans())
def test_a_changed_frame_is_refused_or_given_back(
    frame: bytes, at: int, change: int, cut: bool
) -> None:
    changed = bytearray(frame)
    changed[at % len(frame)] ^= change
    hostile = bytes(changed[: 1 + at % len(frame)] if cut else changed)
    found = unfolded(hostile)
    if found is not None:
        assert folded(*found) == hostile


@settings(max_examples=400)
@given(st.sampled_from(OPENED), st.integers(0, 2**30), st.integers(1, 255), st.booleans())
def test_a_changed_recipe_is_refused_or_makes_a_frame_as_long_as_it_says(
    opened: tuple[bytes, bytes], at: int, change: int, cut: bool
) -> None:
    recipe, content = opened
    changed = bytearray(recipe)
    changed[at % len(recipe)] ^= change
    hostile = bytes(changed[: at % len(recipe)] if cut else changed)
    with suppress(PackError):
        frame = folded(hostile, content)
        assert not cut
        assert len(frame) == frame_size(hostile)


@settings(max_examples=300)
@given(st.binary(min_size=8, max_size=31), st.just(b"\0") | st.binary(max_size=60))
def test_any_bytes_as_sequences(plain: bytes, sequences: bytes) -> None:
    frame = HEADER + compressed(bytes([len(plain) << 3]) + plain + sequences)
    found = unfolded(frame)
    if sequences == b"\0":
        assert found is not None
    if found is not None:
        assert folded(*found) == frame


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_as_a_compressed_block(body: bytes) -> None:
    with suppress(PackError):
        list(fold(_coded(compressed(body), 2**17), bytes))
    unfolded(HEADER + compressed(body))


@settings(max_examples=300)
@given(st.integers(0, 255), st.binary(max_size=200), st.integers(0, 3), st.integers(0, 2**10))
def test_any_bytes_as_a_tree_and_sequences_of_a_recipe(
    first: int, body: bytes, form: int, sizes: int
) -> None:
    """The checks of libzstd do not come before ours here."""
    told = (2 | form << 2 | sizes << 4 | 40 << 14).to_bytes(5, "little")[: (3, 3, 4, 5)[form]]
    recipe = b"GTHZSTD1" + (2**20).to_bytes(8, "little") + (2**10).to_bytes(8, "little") + HEADER
    recipe += block(COMPRESSED, 200) + told + bytes([first]) + body
    with suppress(PackError):
        for piece in fold(recipe, bytes):
            assert len(piece) < 2**18


def test_every_end_of_a_frame_is_noticed() -> None:
    for frame in FRAMES:
        assert [n for n in range(len(frame)) if unfolded(frame[:n])] == []


def test_every_end_of_a_recipe_is_noticed() -> None:
    for recipe, content in OPENED:
        for n in range(len(recipe)):
            with pytest.raises(PackError):
                folded(recipe[:n], content)
        with pytest.raises(PackError, match="Expected a recipe of"):
            folded(recipe + b"\0", content)


UNOPENED = {
    "nothing": b"",
    "something else": b"PK\3\4" + bytes(40),
    "a skippable frame": bytes.fromhex("502a4d18 04000000 00000000"),
    "a frame after it": FRAMES[0] + FRAMES[0],
    "a skippable frame after it": FRAMES[0] + bytes.fromhex("502a4d18 00000000"),
    "a byte after it": FRAMES[0] + b"\0",
    "a dictionary": MAGIC + b"\x01\x50\x07" + block(RAW, 0),
    "a reserved bit": MAGIC + b"\x08\x50" + block(RAW, 0),
    "another content size": MAGIC + b"\x20\x09" + block(RAW, 3, b"abc"),
    "another checksum": compress(b"abc" * 9, write_checksum=True)[:-1] + b"\0",
    "a window of 64 MiB": MAGIC + b"\x00\x80" + block(RAW, 3, b"abc"),
    "a reserved block": HEADER + block(RESERVED, 0),
    "a block of more than 128 KiB": HEADER + block(RLE, 2**17 + 1, b"a"),
    "an empty compressed block": HEADER + compressed(b""),
    "more literals than bytes": HEADER + compressed(b"\xf8abc"),
    "literals without sequences": HEADER + compressed(b"\x18abc"),
    "bytes after no sequences": HEADER + compressed(b"\x18abc\x00\x00"),
    "a code that was never told": HEADER + compressed(b"\x43\x40\x00\x01\x00"),
    "tables that were never told": HEADER + compressed(b"\x18abc\x01\xfc\x01"),
    "reserved modes": HEADER + compressed(b"\x18abc\x01\x03\x01"),
    "no bits for the states of sequences": HEADER + compressed(b"\x18abc\x01\x00\x01"),
    "no bits for sequences": HEADER + compressed(b"\x18abc\x01\x00\x00"),
    "a literal length without a code": HEADER + compressed(b"\x18abc\x01\x54\x24\x00\x00\x01"),
    "sequences of more literals": HEADER + compressed(b"\x18abc\x01\x54\x05\x00\x00\x01"),
    "no end to blocks": HEADER + block(RAW, 3, b"abc", last=False),
}


@pytest.mark.parametrize("what", sorted(UNOPENED))
def test_what_is_not_one_whole_plain_frame_is_not_opened(what: str) -> None:
    assert unfolded(UNOPENED[what]) is None


def _coded(recipe_of: bytes, content: int) -> bytes:
    """A recipe whose head says what suffices, with a block of this body without its gap."""
    head = b"GTHZSTD1" + (2**30).to_bytes(8, "little") + content.to_bytes(8, "little")
    return head + HEADER + recipe_of


def _block_of(tree: bytes, tail: bytes = b"\0") -> bytes:
    """The kept bytes of a block of 40 literals, coded in one stream of 9 bytes."""
    told = (2 | 40 << 4 | len(tree) + 9 << 14).to_bytes(3, "little")
    return block(COMPRESSED, 3 + len(tree) + 9 + len(tail)) + told + tree + tail


TREES = {
    "too few bytes of weights": b"\xff\x11",
    "no weights": b"\x00",
    "an FSE table that ends early": b"\x01\xf0",
    "an FSE table of too many states": b"\x04\x0f\xff\xff\xff",
    "FSE bits without an end": b"\x04\x10\x3f\x00\x00",
    "weights of which the last is none": b"\x82\x11\x10",
    "weights that are all zero": b"\x83\x00\x00",
    "a weight beyond the limit": b"\x81\xc1",
}


@pytest.mark.parametrize("what", sorted(TREES))
def test_trees_that_make_no_code_are_refused(what: str) -> None:
    with pytest.raises(PackError, match="Expected"):
        list(fold(_coded(_block_of(TREES[what]), 40), bytes))
    assert unfolded(HEADER + _block_of(TREES[what])) is None


def test_content_that_has_no_code_is_refused() -> None:
    tree = b"\x80\x10"  # the bytes 0 and 1, a bit each
    recipe = _coded(_block_of(tree), 40)
    with pytest.raises(PackError, match="literals of 9 bytes, found 6"):
        list(fold(recipe, bytes))
    with pytest.raises(PackError, match="without"):
        list(fold(recipe, lambda n: b"\2" * n))
    told = (2 | 40 << 4 | len(tree) + 6 << 14).to_bytes(3, "little")
    frame = HEADER + compressed(told + tree + bytes(5) + b"\1" + b"\0")
    assert_given_back(frame, bytes(40))


def test_literals_too_few_for_four_streams_are_refused() -> None:
    told = (2 | 1 << 2 | 5 << 4 | 12 << 14).to_bytes(3, "little")
    kept = block(COMPRESSED, 16) + told + b"\x80\x10" + b"\0"
    with pytest.raises(PackError, match="6 literals"):
        list(fold(_coded(kept, 5), bytes))


def test_a_recipe_of_another_length_or_content_is_refused() -> None:
    recipe, content = OPENED[0]
    for at in (8, 16):
        for step in (-1, 1):
            lie = (int.from_bytes(recipe[at : at + 8], "little") + step).to_bytes(8, "little")
            with pytest.raises(PackError, match="as long as its recipe says"):
                folded(recipe[:at] + lie + recipe[at + 8 :], content + b"x")
    with pytest.raises(PackError, match="Expected a block of"):
        folded(recipe, content[:-1])
    for other in (b"", b"GTHZSTD2" + bytes(40), recipe[:23]):
        for ask in (frame_size, content_size):
            with pytest.raises(PackError, match="Expected the recipe of a zstd frame"):
                ask(other)


def _peak(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_sizes_that_are_claimed_reserve_nothing() -> None:
    claimed = MAGIC + b"\xe0" + (10 * 2**30).to_bytes(8, "little")
    assert _peak(lambda: unfolded(claimed + block(RAW, 1, b"a"))) < 2**21
    recipe = b"GTHZSTD1" + 2 * (2**62).to_bytes(8, "little") + claimed + block(RLE, 2**17, b"a")

    def write_again() -> None:
        with pytest.raises(PackError):
            list(fold(recipe, bytes))

    assert _peak(write_again) < 2**21


def test_a_bomb_is_read_a_block_at_a_time_and_can_be_stopped() -> None:
    bomb = HEADER + block(RLE, 2**17, b"a", last=False) * 80_000 + block(RAW, 0)
    read = 0

    def write(content: bytes) -> None:
        nonlocal read
        read += len(content)
        if read > 2**20:
            raise CheckpointError("Expected 1 MiB")

    def unfold_it() -> None:
        with pytest.raises(CheckpointError, match="1 MiB"):
            unfold(BytesSource(bomb), write)

    assert _peak(unfold_it) < 2**22
    assert read == 2**20 + 2**17


def test_errors_of_who_writes_and_reads_are_theirs() -> None:
    def fail(_: object) -> bytes:
        raise PackError("Expected room, found none")

    with pytest.raises(PackError, match="room"):
        unfold(BytesSource(FRAMES[0]), fail)
    with pytest.raises(PackError, match="room"):
        list(fold(OPENED[0][0], fail))


def test_many_blocks_of_nothing_are_refused() -> None:
    few = HEADER + block(RAW, 0, last=False) * 1000 + block(RAW, 0)
    assert_given_back(few, b"")
    many = HEADER + block(RAW, 0, last=False) * 100_000 + block(RAW, 0)
    read: list[int] = []

    class Counted(BytesSource):
        def read(self, offset: int, nbytes: int) -> bytes | memoryview:
            read.append(nbytes)
            return super().read(offset, nbytes)

    assert unfold(Counted(many), read.append) is None
    assert len(read) == 1
    with pytest.raises(PackError, match="too many short ones"):
        list(fold(_coded(many[len(HEADER) :], 0), bytes))


def test_many_sequences_of_nothing_are_refused() -> None:
    """98,047 matches of 3 bytes, told in 12 bytes, are more than a block has."""
    body = b"\x08a\xff\xff\xff\x54\x00\x00\x00\x01"
    assert unfolded(HEADER + compressed(body)) is None
    with pytest.raises(PackError, match=r"at most 131072 bytes"):
        list(fold(_coded(block(COMPRESSED, len(body)) + b"\x08" + body[2:], 2**20), bytes))


def test_the_oracle_agrees_that_the_frames_made_here_are_whole() -> None:
    for frame in FRAMES:
        assert zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
