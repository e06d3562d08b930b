"""How this process gets memory from the system.

Numbers are worked on in blocks of a MiB or so, many thousand times. By default glibc takes such
blocks from the system and gives them back each time, and the system clears every page again: a
third of the time of an add. Kept memory is used again instead, and comes in large pages where the
system has such, which are cleared in one go.
"""

from __future__ import annotations

import sys
from typing import Any

_TRIM, _MMAP = -1, -3  # malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
_KEPT = 256 * 2**20
_MAPPED = 32 * 2**20

_HUGEPAGE = 14  # sys/mman.h: MADV_HUGEPAGE
_PAGE = 2 * 2**20  # bytes of a large page
_PIECE = _MAPPED - _PAGE
_PIECES = 4  # what is worked on at once takes some 100 MiB


def keep_freed_memory() -> None:
    """Have blocks below 32 MiB reused, and give memory back only where 256 MiB of it lie free."""
    if sys.platform != "linux":
        return
    import ctypes

    try:
        libc = ctypes.CDLL(None)
        mallopt, _ = libc.mallopt, libc.madvise
    except (OSError, AttributeError):  # another C library, which has its own ways
        return
    mallopt(_MMAP, _MAPPED)
    mallopt(_TRIM, _KEPT)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    _enlarge_pages(libc)


def _enlarge_pages(libc: Any) -> None:
    """Let the heap grow, where nothing is used yet, and ask for large pages there."""
    pieces = [piece for piece in (libc.malloc(_PIECE) for _ in range(_PIECES)) if piece]
    for piece in reversed(pieces):
        libc.free(piece)
    if not pieces:
        return
    start, end = -(-min(pieces) // _PAGE) * _PAGE, (max(pieces) + _PIECE) // _PAGE * _PAGE
    if end - start <= _PIECES * _MAPPED:  # one after another, as in a heap that grew
        libc.madvise(start, end - start, _HUGEPAGE)
