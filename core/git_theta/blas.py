"""Leaves BLAS one thread: the work is shared out among processes already.

Threads of OpenBLAS wait for each other by spinning, and make thin products many times slower on a
busy machine. With one, a product is also the same however many cores there are.
"""

from __future__ import annotations

import os

_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def one_thread() -> None:
    """Set what BLAS libraries look at when numpy is imported; call it before that."""
    os.environ.update(dict.fromkeys(_VARIABLES, "1"))
