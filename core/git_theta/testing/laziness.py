"""Finds out which frameworks some code imports, by running it in a process of its own."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable

FRAMEWORKS = ("torch", "tensorflow", "jax", "keras", "flax", "orbax", "tensorstore")
"""What filter, status, diff and checkout must never import."""


def frameworks_imported(function: Callable[..., object], *arguments: object) -> list[str]:
    """The frameworks that a process has imported after it called a function.

    Function and arguments go to the other process by :mod:`pickle`, so they are found by import:
    an object under test belongs in a module that imports no framework at its top.
    """
    code = "from git_theta.testing.laziness import main; main()"
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps((function, arguments)),
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, f"Expected a call that succeeds, found:\n{done.stderr.decode()}"
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Call the function that standard input holds and print the frameworks that are imported."""
    function, arguments = pickle.load(sys.stdin.buffer)
    function(*arguments)
    print("\n" + json.dumps([name for name in FRAMEWORKS if name in sys.modules]))
