"""Holds a piece of code to a bound of memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def at_most(nbytes: int, what: str) -> Iterator[None]:
    """Fail when what Python and numpy allocate within grows by more than ``nbytes`` at any time.

    Memory that a C library reserves for itself is not seen.
    """
    tracing = tracemalloc.is_tracing()
    if not tracing:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        yield
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        if not tracing:
            tracemalloc.stop()
    assert peak <= nbytes, f"Expected at most {nbytes} bytes of memory for {what}, found {peak}"
