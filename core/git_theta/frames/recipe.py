"""Recipes: what is kept of a zstd frame, from which and the content it is written again.

docs/spec/zstd-recipe-v1.md says what the bytes are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from git_theta.errors import PackError
from git_theta.frames.blocks import Before, Block, Parts, read_block

_HEAD = struct.Struct("<8sQQ")
_MAGIC = b"GTHZSTD1"
LONGEST = 32 * 2**20
"""Bytes that a recipe has at most: it is held in memory."""
_FREE_BLOCKS = 1024
_LEAST = 1024
"""Bytes that a block has on average, those that are free aside: it takes its time to be read."""


def recipe_of(kept: bytearray, frame: int, content: int) -> bytes:
    """What was kept of a frame of so many bytes, which has a content of so many."""
    return _HEAD.pack(_MAGIC, frame, content) + kept


def frame_size(recipe: bytes | memoryview) -> int:
    """Bytes of the frame that a recipe is of.

    Raises
    ------
    PackError
        When it is no recipe.
    """
    return _sizes(recipe)[0]


def content_size(recipe: bytes | memoryview) -> int:
    """Bytes that the frame decompresses to; errors as of :func:`frame_size`."""
    return _sizes(recipe)[1]


def _sizes(recipe: bytes | memoryview) -> tuple[int, int]:
    if len(recipe) < _HEAD.size or bytes(recipe[:8]) != _MAGIC:
        raise PackError(
            f"Expected the recipe of a zstd frame, found {bytes(recipe[:8]).hex() or 'nothing'}"
        )
    _, frame, content = _HEAD.unpack_from(recipe)
    return frame, content


class Kept(Parts):
    """A recipe after its head, as the parts that a frame is read from."""

    def __init__(self, recipe: bytes | memoryview) -> None:
        self._data, self._at = memoryview(recipe), _HEAD.size

    def take(self, nbytes: int) -> bytes:
        """The next bytes; a PackError if there are none."""
        start, self._at = self._at, self._at + nbytes
        if self._at > len(self._data):
            raise PackError(f"Expected {nbytes} bytes at {start} of a recipe, found its end")
        return bytes(self._data[start : self._at])

    def pass_over(self, nbytes: int) -> None:
        """Nothing: these bytes are not in a recipe."""

    def end(self) -> None:
        """A PackError if bytes are left."""
        if self._at != len(self._data):
            raise PackError(f"Expected a recipe of {self._at} bytes, found {len(self._data)}")


def read_blocks(parts: Parts) -> Iterator[Block]:
    """All blocks until the last one.

    Raises
    ------
    PackError
        When one is malformed, or there are more than a content so long should have.
    """
    before = Before()
    left = _FREE_BLOCKS * _LEAST
    while True:
        block = read_block(parts, before)
        left += block.nbytes - _LEAST
        if left < 0:
            raise PackError(f"Expected blocks of {_LEAST} bytes or more, found too many short ones")
        yield block
        if block.last:
            return
