"""Gets ready what cleaning takes while git still sends the file.

Draining a long stream and importing numpy take about as long, and need a core each. The stream is
drained by a thread, which imports nothing; git's processes are started meanwhile, then modules are
taken one after another as long as it is at work: so a short file, or one that did not change, waits
for none.
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
STORING = (
    "numpy",
    "git_theta.storage.local",
    "git_theta.plugins",
    "git_theta.updates.choose",
    "git_theta.clean",
    "git_theta.git.history",
    "git_theta.formats.builtin",
    "git_theta.serializers.builtin",
    "git_theta.updates.builtin",
)
"""What is imported by commands that are asked for what is new."""
REBUILDING = (
    "numpy",
    "git_theta.storage.local",
    "git_theta.plugins",
    "git_theta.smudge",
    "git_theta.serializers.builtin",
    "git_theta.updates.builtin",
)
"""What is imported by commands that look whether a file may be replaced by another."""
_REPLACING = ("checkout", "cherry-pick", "merge", "rebase", "reset", "restore", "revert", "switch")
COMMANDS = {"add": STORING} | dict.fromkeys(_REPLACING, REBUILDING)
"""The git commands that mostly need more than to compare."""

_SWITCH = 1e-4  # seconds after which the import lets the other thread have the interpreter


def drained(receive: Callable[[], Received], path: str, prepare: Callable[[], None]) -> Received:
    """What :func:`~git_theta.git.received.receive` gives, called in a thread for a long file.

    ``prepare`` is called meanwhile.
    """
    if not _is_long(path):
        return receive()
    found: list[Received] = []
    faults: list[BaseException] = []

    def work() -> None:
        try:
            found.append(receive())
        except BaseException as fault:
            faults.append(fault)

    thread = threading.Thread(target=work)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH)
    thread.start()
    try:
        prepare()
        for name in COMMANDS.get(typed_command(), ()):
            if not thread.is_alive():
                break
            import_module(name)
    finally:
        thread.join()
        sys.setswitchinterval(interval)
    if faults:
        raise faults[0]
    return found[0]


def _is_long(path: str) -> bool:
    try:
        return os.stat(path).st_size >= LONG
    except OSError:
        return False
