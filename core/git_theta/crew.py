"""Forked processes that work beside each other: for what is many short steps of Python.

Threads share one interpreter, in which one of them runs at a time; numpy lets go of it only for as
long as an array takes. A forked process has what its parent had in memory, so a task is told in a
few bytes, and what it gives is sent back through a pipe, or lies in memory that both share.

Linux alone forks here: elsewhere a library that the process uses may not survive it.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any, NoReturn

from git_theta.crew_messages import (
    BYTES,
    END,
    ERROR,
    FRAME,
    SLOT,
    VALUE,
    dumped,
    loaded,
    open_pipe,
    read,
    send,
    uncleared,
    widen,
)
from git_theta.errors import StoreError
from git_theta.slots import Slots

BUFFERED = 64 * 2**20
"""Bytes that are taken from processes before it is the turn of what they work on."""
_AHEAD = 2  # tasks that a process is told at once, so that it need not wait for the next


def can_fork() -> bool:
    """Whether there may be a crew."""
    return sys.platform == "linux" and hasattr(os, "fork")


class Crew:
    """Processes that work on tasks, each as soon as one of them is free.

    Parameters
    ----------
    work
        Gives the results of a task one by one. Tasks and results must be picklable; bytes, and
        views of bytes, are sent as they are, and arrive as views.
    size
        How many processes.
    begin
        What each calls first: to open anew what must not be shared.
    slot
        Bytes of a result that is lent at most, and valid until the next one is asked for; longer
        ones are sent, and those for which there is no slot.
    """

    def __init__(
        self,
        work: Callable[[Any], Iterator[Any]],
        size: int,
        *,
        begin: Callable[[], None] = lambda: None,
        slot: int = 0,
    ) -> None:
        self._members: list[_Member] = []
        self._waiting: deque[tuple[int, Any]] = deque()
        self._results: dict[int, deque[Any]] = {}
        self._ended: set[int] = set()
        self._alone: set[int] = set()
        self._asked = self._buffered = 0
        try:
            for _ in range(size):
                self._members.append(_Member(work, begin, slot, self._members))
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for member in self._members:
            member.kill()
        for member in self._members:  # which give back their memory beside each other
            with suppress(ChildProcessError):  # where SIGCHLD is ignored the system waits
                os.waitpid(member.pid, 0)

    def ask(self, task: Any, *, alone: bool = False) -> int:
        """Have somebody work on a task, ``alone`` one for which no other shall wait.

        Gives its number.
        """
        number, self._asked = self._asked, self._asked + 1
        self._results[number] = deque()
        self._waiting.append((number, task))
        if alone:
            self._alone.add(number)
        self._hand_out()
        return number

    def results(self, number: int) -> Iterator[Any]:
        """The results of a task, in the order in which it gave them.

        Raises
        ------
        StoreError
            When the process that worked on it was killed.
        Exception
            What the task raised.
        """
        found = self._results[number]
        while True:
            while found:
                nbytes, (kind, result) = found.popleft()
                self._buffered -= nbytes
                if kind == ERROR:
                    raise result
                if kind == SLOT:
                    slots, message = result
                    with slots.view(message) as view:  # who keeps it gets an error
                        yield view
                    slots.give_back(message)
                else:
                    yield result
            if number in self._ended:
                del self._results[number]
                return
            self._receive(number)

    def _hand_out(self) -> None:
        for load in range(_AHEAD):
            for member in self._members:
                busy = not self._alone.isdisjoint(member.tasks)
                if self._waiting and len(member.tasks) == load and not busy:
                    member.send(*self._waiting.popleft())

    def _receive(self, wanted: int) -> None:
        """Take what processes have to say; only of who has the wanted task if there is much."""
        heard = [member for member in self._members if member.tasks]
        if self._buffered > BUFFERED:
            heard = [member for member in heard if wanted in member.tasks] or heard
        ready, _, _ = select.select(heard, [], [])
        for member in ready:
            for nbytes, (kind, value) in member.receive():
                if kind == END:
                    self._ended.add(member.tasks.popleft())
                else:
                    self._results[member.tasks[0]].append((nbytes, (kind, value)))
                    self._buffered += nbytes
        self._hand_out()


class _Member:
    """One process, seen from its parent."""

    def __init__(
        self,
        work: Callable[[Any], Iterator[Any]],
        begin: Callable[[], None],
        slot: int,
        others: list[_Member],
    ) -> None:
        self.tasks: deque[int] = deque()
        """Numbers of the tasks that it was told and has not ended."""
        self._kind, self._got = b"", 0
        self._buffer: bytearray | memoryview = bytearray(FRAME.size)
        self._slots: Slots | None = None
        self._ours = ExitStack()
        with ExitStack() as ours, ExitStack() as theirs:
            try:
                tasks, self._to = open_pipe(theirs, ours)
                self._from, results = open_pipe(ours, theirs)
                if slot:
                    self._slots = Slots(slot)
                    ours.callback(self._slots.end_parent)
                    theirs.callback(self._slots.end_child)
                self.pid = os.fork()
            except OSError as fault:
                raise _not_forked(fault) from fault
            if self.pid == 0:
                for one in (ours, *(other._ours for other in others)):  # else pipes stay open
                    one.close()
                _serve(work, begin, tasks, results, self._slots)
            self._ours = ours.pop_all()
        widen(self._from)

    def fileno(self) -> int:
        return self._from

    def send(self, number: int, task: Any) -> None:
        self.tasks.append(number)
        try:
            send(self._to, VALUE, pickle.dumps(task))
        except BrokenPipeError:
            raise _killed() from None

    def receive(self) -> Iterator[tuple[int, Any]]:
        """What has arrived whole, with its length in bytes: kind and value; the kind is "end" last.

        Raises
        ------
        StoreError
            When the process was killed.
        """
        got = os.readv(self._from, [memoryview(self._buffer)[self._got :]])
        if not got:
            raise _killed()
        self._got += got
        if self._got < len(self._buffer):
            return
        data, kind = self._buffer, self._kind
        self._got = 0
        if not kind:
            self._kind, nbytes = FRAME.unpack(data)
            self._buffer = uncleared(nbytes) if self._kind == BYTES else bytearray(nbytes)
            if nbytes:
                return
            data, kind = self._buffer, self._kind
        self._kind, self._buffer = b"", bytearray(FRAME.size)
        if kind == SLOT:
            yield len(data), (kind, (self._slots, data))
        else:
            yield len(data), (kind, memoryview(data) if kind == BYTES else loaded(data))

    def kill(self) -> None:
        """End the process, whatever it does."""
        self._ours.close()
        if self._slots:
            self._slots.release()
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def _serve(
    work: Callable[[Any], Iterator[Any]],
    begin: Callable[[], None],
    tasks: int,
    results: int,
    slots: Slots | None,
) -> NoReturn:
    """Work until the parent is gone."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told as well, and ends this
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1):  # who talks to the parent must not wait for this one to end
            os.dup2(nothing, fd)
        fault: Exception | None = None
        try:
            begin()
        except Exception as error:  # the parent hears of it when it asks for something
            fault = error
        while (frame := read(tasks, FRAME.size)) is not None:
            task = read(tasks, FRAME.unpack(frame)[1])
            if task is None:
                break
            try:
                if fault:
                    raise fault
                for result in work(pickle.loads(task)):
                    if not isinstance(result, (bytes, memoryview)):
                        send(results, VALUE, pickle.dumps(result))
                    elif slots and (message := slots.put(result)):
                        send(results, SLOT, message)
                    else:
                        send(results, BYTES, result)
            except BrokenPipeError:
                break
            except Exception as error:
                send(results, ERROR, dumped(error))
            send(results, END, b"")
    finally:
        os._exit(0)  # nothing of the parent's is to be flushed or removed twice


def _not_forked(fault: OSError) -> StoreError:
    return StoreError(
        f"Cannot fork a process that works beside this one: {fault}",
        remedy="End other processes, or run it again with GIT_THETA_THREADS=1",
    )


def _killed() -> StoreError:
    return StoreError(
        "A process that worked for this one was ended from outside, or memory was short",
        remedy="Run the command again; GIT_THETA_THREADS=1 does all in one process",
    )
