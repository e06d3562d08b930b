"""Ordered work on all cores with bounded memory: numpy, zstd and BLAKE3 release the GIL."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_WORKERS = 8


def worker_count() -> int:
    """Threads that work at once: the cores, at most 8, or what ``GIT_THETA_THREADS`` says."""
    asked = os.environ.get("GIT_THETA_THREADS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return min(MAX_WORKERS, len(os.sched_getaffinity(0)) if _HAS_AFFINITY else os.cpu_count() or 1)


_HAS_AFFINITY = hasattr(os, "sched_getaffinity")


def ordered_map(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    weigh: Callable[[Item], int] = lambda _: 0,
    limit: int = 0,
    ahead: int = 2,
    threads: int | None = None,
) -> Iterator[Result]:
    """``map(work, items)`` on several threads; ``ahead`` more items than threads are under way.

    Those under way weigh no more than ``limit`` together, but one always is.
    """
    workers = min(worker_count(), threads or worker_count())
    if workers == 1:
        yield from map(work, items)
        return
    from concurrent.futures import ThreadPoolExecutor  # not where processes work, or one alone

    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[tuple[Future[Result], int]] = deque()
        weight = 0
        try:
            for item in items:
                more = weigh(item)
                while waiting and (len(waiting) > workers + ahead or weight + more > limit):
                    future, done = waiting.popleft()
                    weight -= done
                    yield future.result()
                waiting.append((pool.submit(work, item), more))
                weight += more
            while waiting:
                yield waiting.popleft()[0].result()
        finally:
            for future, _ in waiting:
                future.cancel()
