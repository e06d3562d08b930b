"""The pipes of a filter: stdin and stdout are git's, what people shall read goes to stderr."""

from __future__ import annotations

import os
import sys

from git_theta.errors import ThetaError, describe

PIPE_BYTES = 2**20
"""Bytes that are read from git at once, and that a pipe shall hold."""


def own_pipes() -> tuple[int, int]:
    """git's pipes under other numbers: a program that is started to fetch must not get at them."""
    pipes = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return pipes


def widen_pipes() -> None:
    """Ask for larger pipes to and from git where the system has such a thing."""
    try:
        import fcntl

        for fd in (0, 1):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except (ImportError, AttributeError, OSError):
        pass


def report(error: BaseException) -> int:
    """Tell about an error; gives the exit code for it."""
    if os.environ.get("GIT_THETA_DEBUG") not in (None, "", "0"):
        import traceback

        traceback.print_exception(error)
    if isinstance(error, ThetaError):
        say(f"error: {error}")
        return error.exit_code
    if isinstance(error, OSError):
        say(f"error: {describe(error)}")
        return 1
    say(f"error: Unexpected {type(error).__name__}: {error}\nGIT_THETA_DEBUG=1 shows where")
    return 1


def say(message: str) -> None:
    """Tell something, each line under our name."""
    for line in message.splitlines():
        print(f"git-theta: {line}", file=sys.stderr)
    sys.stderr.flush()
