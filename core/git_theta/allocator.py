"""How this process gets memory from the system.

Numbers are worked on in blocks of a MiB or so, many thousand times. By default glibc takes such
blocks from the system and gives them back each time, and the system clears every page again: a
third of the time of an add. Kept memory is used again instead.
"""

from __future__ import annotations

import sys

_TRIM, _MMAP = -1, -3  # malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
_KEPT = 256 * 2**20
_MAPPED = 32 * 2**20


def keep_freed_memory() -> None:
    """Have blocks below 32 MiB reused, and give memory back only where 256 MiB of it lie free."""
    if sys.platform != "linux":
        return
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library, which has its own ways
        return
    mallopt(_MMAP, _MAPPED)
    mallopt(_TRIM, _KEPT)
