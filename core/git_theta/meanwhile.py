"""Imports modules while a thread is at work that seldom needs the interpreter.

numpy, and our own modules that need it, take as long to import as a file of 100 MB to arrive or to
be digested. They are taken one after another as long as the thread is at work, so nobody waits for
one that is not needed in the end.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import TypeVar

Result = TypeVar("Result")

LONG = 16 * 2**20
"""Bytes of the shortest file for which it pays: a shorter one is done before numpy is."""
BUILTIN = (
    "git_theta.serializers.planes",
    "git_theta.serializers.rice",
    "git_theta.updates.low_rank",
    "git_theta.updates.recipe",
    "git_theta.updates.scale",
    "git_theta.updates.sparse",
    "git_theta.updates.cast",
    "git_theta.updates.delta",
    "git_theta.updates.patch",
)
"""Serializers and update types, as plugins are asked for them."""
STORING = (
    "numpy",
    "git_theta.lacking",
    "git_theta.storage.buffers",
    *BUILTIN,
)
"""What is imported to store what is new of a file, after it was read."""

_SWITCH = 1e-4  # seconds after which an import lets the other thread have the interpreter


def beside(
    work: Callable[[], Result], modules: Iterable[str], prepare: Callable[[], None] = lambda: None
) -> Result:
    """What ``work`` gives, called in a thread; ``prepare`` is called meanwhile, modules imported.

    What it raises is raised when it has ended.
    """
    found: list[Result] = []
    faults: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as fault:
            faults.append(fault)

    thread = threading.Thread(target=run)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH)
    thread.start()
    try:
        prepare()
        for name in modules:
            if not thread.is_alive():
                break
            import_module(name)
    finally:
        thread.join()
        sys.setswitchinterval(interval)
    if faults:
        raise faults[0]
    return found[0]
