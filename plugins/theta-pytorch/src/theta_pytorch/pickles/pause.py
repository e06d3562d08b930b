"""Keeps Python's cycle collector from looking at a half-built object over and over."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the collector, which takes a third of the time while records only ever are added.

    What may pile up is bounded by the limits of the reader that asks for the pause.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
