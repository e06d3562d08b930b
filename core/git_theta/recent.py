"""What was decoded last, of all sources together: memory must not grow with their number."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from git_theta.source import Source

RECENT_BYTES = 48 * 2**20
"""Bytes of blocks that are kept."""


class Recent:
    """Blocks by source and number, those that were used last at the end."""

    def __init__(self) -> None:
        self._blocks: OrderedDict[tuple[Source, int], memoryview] = OrderedDict()
        self._nbytes = 0
        self._lock = Lock()

    def get(self, source: Source, number: int) -> memoryview | None:
        """The bytes of a block, if they are still kept."""
        with self._lock:
            data = self._blocks.get((source, number))
            if data is not None:
                self._blocks.move_to_end((source, number))
            return data

    def put(self, source: Source, number: int, data: bytes | memoryview) -> None:
        """Keep the bytes of a block for a while."""
        with self._lock:
            if (source, number) not in self._blocks:
                self._blocks[source, number] = memoryview(data)
                self._nbytes += len(data)
            while self._nbytes > RECENT_BYTES:
                self._nbytes -= len(self._blocks.popitem(last=False)[1])


recent = Recent()
