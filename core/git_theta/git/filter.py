"""The filter that git runs: ``git-theta-filter process``, ``clean PATH`` and ``smudge PATH``.

git hands over a file and gets metadata (clean), or metadata and gets the file (smudge). ``process``
serves all files of one git command in one process. stdout is git's; messages go to stderr.

Here is the protocol; what is answered is in :mod:`git_theta.git.answers`, which is imported when
git sends something: git waits for whatever is imported before.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, NoReturn

from git_theta import __version__
from git_theta.allocator import keep_freed_memory
from git_theta.blas import one_thread
from git_theta.errors import GitError, ThetaError
from git_theta.git.meanwhile import drained
from git_theta.git.pipes import PIPE_BYTES, own_pipes, report, widen_pipes
from git_theta.git.pktline import HungUp, PacketReader, PacketWriter, PutOff
from git_theta.git.received import receive

if TYPE_CHECKING:
    from git_theta.git.answers import Answers

USAGE = "usage: git-theta-filter (process | clean PATH | smudge PATH) [--skip]"
_CAPABILITIES = ("capability=clean", "capability=smudge", "capability=delay")


def run() -> NoReturn:
    """Run the filter as a program; git waits for its end, so nothing is torn down."""
    one_thread()
    keep_freed_memory()
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main(args: list[str] | None = None) -> int:
    """Run the filter; gives the exit code."""
    args = sys.argv[1:] if args is None else args
    skip = "--skip" in args or os.environ.get("GIT_THETA_SKIP_SMUDGE") == "1"
    args = [arg for arg in args if arg != "--skip"]
    if args == ["--version"]:
        print(f"git-theta {__version__}")
        return 0
    sys.setswitchinterval(0.1)  # threads here wait for C code, not for each other
    gc.disable()  # a checkpoint is many small values without cycles: looking for some costs a third
    try:
        with closing(_Asked(skip=skip)) as asked:
            if args == ["process"]:
                return serve(asked)
            if len(args) == 2 and args[0] in ("clean", "smudge"):
                return serve_one(asked, args[0], args[1])
    except ThetaError as error:
        return report(error)
    except KeyboardInterrupt:
        return 130
    except HungUp:
        return 141  # as of a program that SIGPIPE ended
    print(USAGE, file=sys.stderr)
    return 2


class _Asked:
    """The answers, as soon as one is needed."""

    def __init__(self, *, skip: bool) -> None:
        self._skip = skip
        self._answers: Answers | None = None
        self._lock = Lock()  # a file is drained by a thread

    @property
    def answers(self) -> Answers:
        with self._lock:
            if self._answers is None:
                from git_theta.git.answers import Answers

                self._answers = Answers(skip=self._skip)
            return self._answers

    def close(self) -> None:
        if self._answers is not None:
            self._answers.close()


def serve_one(asked: _Asked, command: str, path: str) -> int:
    """Filter one file from stdin to stdout, for git without the process protocol."""
    reader, writer = own_pipes()
    stream = iter(lambda: memoryview(os.read(reader, PIPE_BYTES)), memoryview(b""))
    request = {"command": command, "pathname": path}
    for data in _answer(asked, request, stream):
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(writer, view) :]
        except BrokenPipeError as fault:
            raise HungUp from fault
    return 0


def serve(asked: _Asked) -> int:
    """Speak git's long-running filter protocol until git hangs up."""
    widen_pipes()
    stdin, stdout = own_pipes()
    reader, writer = PacketReader(stdin), PacketWriter(stdout)
    if reader.lines() != ["git-filter-client", "version=2"]:
        raise GitError("Expected git's filter protocol, version 2, on stdin")
    writer.lines("git-filter-server", "version=2")
    offered = reader.lines()
    writer.lines(*(capability for capability in _CAPABILITIES if capability in offered))
    while True:
        try:
            request = dict(line.partition("=")[::2] for line in reader.lines())
        except EOFError:
            return 0
        if request.get("command") == "list_available_blobs":
            writer.lines(*(f"pathname={path}" for path in asked.answers.available()))
            writer.lines("status=success")
        else:
            _serve_file(asked, request, reader, writer)
        asked.answers.flush()


def _serve_file(
    asked: _Asked, request: dict[str, str], reader: PacketReader, writer: PacketWriter
) -> None:
    """Answer a request to clean or to smudge a file."""
    stream = reader.content()
    started = False
    try:
        for data in _answer(asked, request, stream):
            if not started:
                writer.lines("status=success")
                started = True
            writer.content(data)
        if not started:
            writer.lines("status=success")
        writer.flush()
        writer.flush()
    except PutOff:
        writer.lines("status=delayed")
    except HungUp:
        raise
    except Exception as error:  # one bad file must not hang git: it waits for an answer
        report(error)
        for _ in stream:
            pass
        if started:
            writer.flush()
        writer.lines("status=error")


def _answer(
    asked: _Asked, request: Mapping[str, str], stream: Iterable[memoryview]
) -> Iterator[bytes | memoryview]:
    command, path = request.get("command", ""), request.get("pathname", "")
    if command == "clean":
        receiving = partial(receive, stream, path, lambda: asked.answers.temporary)
        with drained(receiving, path, lambda: asked.answers.prepare()) as file:
            yield asked.answers.clean(path, file)
    elif command == "smudge":
        yield from asked.answers.smudge(request, stream)
    else:
        raise GitError(f"Expected the command clean or smudge from git, found {command!r}")
