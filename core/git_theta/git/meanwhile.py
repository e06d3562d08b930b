"""Gets ready what an answer takes while git still sends the file.

A long stream is drained by a thread; git's processes are started meanwhile, then modules are
imported: see :mod:`git_theta.meanwhile`. A short file, or one that did not change, waits for none.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from git_theta.git.caller import typed_command
from git_theta.git.received import Received
from git_theta.meanwhile import BUILTIN, LONG, beside

_ADDING = (
    "git_theta.storage.local",
    "git_theta.plugins",
    "git_theta.clean",
    "git_theta.git.history",
    "git_theta.git.siblings",
    "git_theta.git.hooks",
    "git_theta.formats.safetensors",
    "concurrent.futures.thread",
)
_REPLACING = (
    "numpy",
    "git_theta.storage.local",
    "git_theta.plugins",
    "git_theta.smudge",
    *BUILTIN,
)
_REPLACERS = ("checkout", "cherry-pick", "merge", "rebase", "reset", "restore", "revert", "switch")
COMMANDS = {"add": _ADDING} | dict.fromkeys(_REPLACERS, _REPLACING)
"""What git commands import that mostly need more than to compare."""


def drained(receive: Callable[[], Received], path: str, prepare: Callable[[], None]) -> Received:
    """What :func:`~git_theta.git.received.receive` gives, called in a thread for a long file.

    ``prepare`` is called meanwhile.
    """
    if not _is_long(path):
        return receive()
    return beside(receive, COMMANDS.get(typed_command(), ()), prepare)


def _is_long(path: str) -> bool:
    try:
        return os.stat(path).st_size >= LONG
    except OSError:
        return False
