"""A source in which some ranges have other bytes: how a file gets new values without a copy."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

from git_theta.errors import CheckpointError
from git_theta.source import Source


class Overlay(Source):
    """``base`` with the bytes at each offset of ``patches`` replaced by that patch's bytes."""

    def __init__(self, base: Source, patches: Mapping[int, Source]) -> None:
        self.size = base.size
        self._base = base
        self._patches = sorted(
            ((start, patch) for start, patch in patches.items() if patch.size),
            key=lambda item: item[0],
        )
        self._starts = [start for start, _ in self._patches]
        end = 0
        for start, patch in self._patches:
            if start < end or start + patch.size > base.size:
                raise CheckpointError(f"Bytes {start} to {start + patch.size} cannot be replaced")
            end = start + patch.size

    def _read(self, offset: int, nbytes: int) -> bytes | memoryview:
        number = max(0, bisect_right(self._starts, offset) - 1)
        end = offset + nbytes
        data: bytearray | None = None
        for start, patch in self._patches[number:]:
            if start >= end:
                break
            low, high = max(offset, start), min(end, start + patch.size)
            if low < high:
                if data is None:
                    data = bytearray(self._base.read(offset, nbytes))
                data[low - offset : high - offset] = patch.read(low - start, high - low)
        return self._base.read(offset, nbytes) if data is None else bytes(data)
