"""Gets ready what an answer takes while git still sends the file.

Draining a long stream and importing numpy, and our own modules that need it, take about as long.
The stream is drained by a thread; git's processes are started meanwhile, then modules are taken
one after another as long as it is at work: a short file, or one that did not change, waits for
none.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from importlib import import_module

from git_theta.git.caller import typed_command
from git_theta.git.received import Received

LONG = 16 * 2**20
"""Bytes of the shortest file for which it pays: a shorter one is there before numpy is."""
_BUILTIN = (
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
_ADDING = (
    "git_theta.storage.local",
    "git_theta.plugins",
    "git_theta.clean",
    "git_theta.git.history",
    "git_theta.git.siblings",
    "git_theta.git.hooks",
    "git_theta.formats.safetensors",
    "concurrent.futures.thread",
    "numpy",
    "git_theta.lacking",
    "git_theta.storage.buffers",
    *_BUILTIN,
)
_REPLACING = (
    "numpy",
    "git_theta.storage.local",
    "git_theta.plugins",
    "git_theta.smudge",
    *_BUILTIN,
)
_REPLACERS = ("checkout", "cherry-pick", "merge", "rebase", "reset", "restore", "revert", "switch")
COMMANDS = {"add": _ADDING} | dict.fromkeys(_REPLACERS, _REPLACING)
"""What git commands import that mostly need more than to compare."""

_SWITCH = 1e-4  # seconds after which an import lets the other thread have the interpreter


def drained(receive: Callable[[], Received], path: str, prepare: Callable[[], None]) -> Received:
    """What :func:`~git_theta.git.received.receive` gives, called in a thread for a long file.

    ``prepare`` is called meanwhile. The end of the stream is waited for before an exception is
    raised, since git reads no answer earlier, but not before an interrupt.
    """
    if not _is_long(path):
        return receive()
    found: list[Received] = []
    faults: list[BaseException] = []

    def run() -> None:
        try:
            found.append(receive())
        except BaseException as fault:
            faults.append(fault)

    thread = threading.Thread(target=run, daemon=True)
    interval = sys.getswitchinterval()
    try:
        sys.setswitchinterval(_SWITCH)
        thread.start()
        try:
            prepare()
            for name in COMMANDS.get(typed_command(), ()):
                if not thread.is_alive():
                    break
                import_module(name)
        except Exception:
            thread.join()
            raise
        thread.join()
    finally:
        sys.setswitchinterval(interval)
    if faults:
        raise faults[0]
    return found[0]


def _is_long(path: str) -> bool:
    try:
        return os.stat(path).st_size >= LONG
    except OSError:
        return False
