"""A frame made again is the very one, or an error, however it is read."""

from __future__ import annotations

import pytest
import zstandard
from blake3 import blake3

from git_theta.errors import PackError
from git_theta.folded import Folded
from git_theta.frames import unfold
from git_theta.source import BytesSource
from git_theta.testing.blocks import weights
from git_theta.testing.memory import at_most

DATA = weights("F32", 40_000)
FRAME = zstandard.ZstdCompressor(level=1).compress(DATA)
RECIPE = unfold(BytesSource(FRAME), lambda _: None) or b""


@pytest.mark.parametrize(
    ("recipe", "numbers", "nbytes"),
    [
        (RECIPE, DATA, len(FRAME) + 1),
        (RECIPE, DATA, len(FRAME) - 1),
        (RECIPE, DATA, 0),
        (RECIPE, DATA[:-4], len(FRAME)),
        (RECIPE, DATA + DATA, len(FRAME)),
        (RECIPE, b"", len(FRAME)),
        (RECIPE[:-1], DATA, len(FRAME)),
        (b"no recipe", DATA, len(FRAME)),
        (RECIPE, weights("F32", 40_000, seed=3)[::-1], len(FRAME)),
    ],
)
def test_recipes_and_numbers_that_do_not_fit_are_refused(
    recipe: bytes, numbers: bytes, nbytes: int
) -> None:
    folded = Folded(BytesSource(recipe), BytesSource(numbers), nbytes)
    with pytest.raises(PackError):
        folded.read(0, nbytes) or list(folded.blocks())


def test_any_part_of_a_frame_can_be_read() -> None:
    folded = Folded(BytesSource(RECIPE), BytesSource(DATA), len(FRAME))
    assert b"".join(folded.blocks()) == FRAME
    assert folded.read(5, 1000) == FRAME[5:1005]
    assert folded.window(len(FRAME) - 3, 3).read(1, 2) == FRAME[-2:]


def test_memory_does_not_grow_with_a_frame() -> None:
    data = weights("F32", 64 * 2**20)
    frame = zstandard.ZstdCompressor(level=1).compress(data)
    recipe = unfold(BytesSource(frame), lambda _: None)
    assert recipe
    folded, hasher = Folded(BytesSource(recipe), BytesSource(data), len(frame)), blake3()
    with at_most(8 * 2**20, "making a frame"):
        for block in folded.blocks():
            hasher.update(block)
    assert hasher.digest() == blake3(frame).digest()
