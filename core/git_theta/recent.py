"""What was decoded last, of all that is read together: memory must not grow with their number."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

RECENT_BYTES = 48 * 2**20
"""Bytes of blocks that are kept where nothing else says how many."""


class Recent:
    """Blocks by owner and number, those that were used last at the end."""

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._blocks: OrderedDict[tuple[object, int], memoryview] = OrderedDict()
        self._nbytes = 0
        self._lock = Lock()

    def get(self, owner: object, number: int) -> memoryview | None:
        """The bytes of a block, if they are still kept."""
        with self._lock:
            data = self._blocks.get((owner, number))
            if data is not None:
                self._blocks.move_to_end((owner, number))
            return data

    def put(self, owner: object, number: int, data: bytes | memoryview) -> None:
        """Keep the bytes of a block for a while."""
        with self._lock:
            if (owner, number) not in self._blocks:
                self._blocks[owner, number] = memoryview(data)
                self._nbytes += memoryview(data).nbytes
            limit = RECENT_BYTES if self._limit is None else self._limit
            while self._nbytes > limit:
                self._nbytes -= self._blocks.popitem(last=False)[1].nbytes


recent = Recent()
