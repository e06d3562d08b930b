"""The entry point ``git-theta``: runs a command and turns its errors into messages and exit codes.

Nothing else is imported here than what ``git theta --version`` needs; the commands themselves are
listed in :mod:`git_theta.cli.commands`.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn, TextIO

from git_theta import __version__
from git_theta.blas import one_thread
from git_theta.errors import ThetaError, describe

INTERRUPTED = 130
"""Exit code after Ctrl-C, as a shell reports it for SIGINT."""

PIPE_CLOSED = 141
"""Exit code when nobody reads our output any more, as a shell reports it for SIGPIPE."""

COMPLETE = "_GIT_THETA_COMPLETE"
"""Variable with which a shell's completion asks for words instead of running a command."""


def run() -> NoReturn:
    """Run a command as a program; nothing is torn down, which takes as long as a short command."""
    code = main()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:  # as where a caller has closed it
                stream.flush()
        except OSError:  # main has told it, where anybody can be told
            code = code or 1
    os._exit(code)


def main(args: list[str] | None = None) -> int:
    """Run ``git theta ARGS...``; without ``args`` those of the process. Gives the exit code."""
    args = sys.argv[1:] if args is None else args
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a path need not be valid in any encoding
            stream.reconfigure(errors="surrogateescape" if _is_utf8(stream) else "backslashreplace")
    if args == ["--version"]:
        print(f"git-theta {__version__}")
        return 0
    one_thread()
    try:
        code = _invoke(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes once more when it ends; that must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except ThetaError as error:
        return _report(str(error), error.exit_code)
    except OSError as error:  # of the machine: a full disk, rights that lack
        return _report(describe(error), 1)
    except Exception as error:
        fault = f"{type(error).__name__}: {error}".rstrip(": ")
        hint = "This is a bug in git-theta or a plugin; git theta --debug ... shows where"
        return _report(f"Unexpected {fault}\n{hint}", 1)
    return code


def _invoke(args: list[str]) -> int:
    import click
    from click.shell_completion import shell_complete

    from git_theta.cli.commands import theta

    if COMPLETE in os.environ:
        return shell_complete(theta, {}, "git-theta", COMPLETE, os.environ[COMPLETE])
    color = False if os.environ.get("NO_COLOR") else None
    try:
        with theta.make_context("git theta", list(args), color=color) as context:
            theta.invoke(context)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.Abort:
        return INTERRUPTED
    except click.UsageError as error:
        # Not click's own hint: "git theta --help" is git's to answer, with a manual page.
        command = error.ctx.command_path if error.ctx else f"git theta {_typed(args)}".rstrip()
        return _report(f"{error.format_message()}\nSee: {command} -h", error.exit_code)
    except click.ClickException as error:
        return _report(error.format_message(), error.exit_code)
    return 0


def _typed(args: Sequence[str]) -> str:
    """The command that was typed, "" where it is none of ours."""
    from git_theta.cli.commands import COMMANDS

    first = next((arg for arg in args if not arg.startswith("-")), "")
    return first if first in COMMANDS else ""


def _report(message: str, code: int) -> int:
    if os.environ.get("GIT_THETA_DEBUG") not in (None, "", "0"):
        import traceback

        traceback.print_exc()
    label = "error:"
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        label = f"\x1b[31m{label}\x1b[0m"
    print(label, message, file=sys.stderr)
    return code


def _is_utf8(stream: TextIO) -> bool:
    return stream.encoding.lower().replace("-", "") == "utf8"
