"""Forked processes: what they give arrives whole and in order, and none outlives its parent."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from blake3 import blake3

from git_theta import crew as crew_module
from git_theta import digests, slots
from git_theta.crew import Crew, can_fork
from git_theta.errors import CheckpointError, PackError, StoreError
from git_theta.source import BytesSource
from git_theta.table import Run

pytestmark = pytest.mark.skipif(not can_fork(), reason="this system does not fork safely")


def count_up(task: int) -> Iterator[object]:
    for number in range(task):
        yield number
        yield bytes([number]) * 3


def is_alive(process: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_results_come_in_the_order_in_which_each_task_gave_them() -> None:
    with Crew(count_up, 3) as crew:
        asked = [crew.ask(task) for task in (3, 0, 50, 1)]
        results = {number: list(crew.results(number)) for number in reversed(asked)}
    expected = [[x for n in range(task) for x in (n, bytes([n]) * 3)] for task in (3, 0, 50, 1)]
    assert [results[number] for number in asked] == expected


@pytest.mark.parametrize("backwards", [False, True])
def test_results_that_are_lent(*, backwards: bool) -> None:
    """More than there are slots for, and some that fit into none."""

    def work(task: int) -> Iterator[object]:
        for number in range(5 * slots.COUNT):
            yield bytes([task, number]) * (8 if number % 7 else 9)
        yield task
        yield b""

    with Crew(work, 2, slot=16) as crew:
        asked = [crew.ask(task) for task in range(4)]
        for number in reversed(asked) if backwards else asked:
            results = crew.results(number)
            for at in range(5 * slots.COUNT):
                assert bytes(next(results)) == bytes([number, at]) * (8 if at % 7 else 9)
            assert next(results) == number
            assert bytes(next(results)) == b""
            assert list(results) == []


def test_what_was_lent_is_not_read_by_mistake() -> None:
    """Other bytes lie there soon: who keeps it gets an error, not those."""

    def work(_: int) -> Iterator[object]:
        yield from (b"one", b"two")

    with Crew(work, 1, slot=16) as crew:
        kept = list(crew.results(crew.ask(0)))
        with pytest.raises(ValueError, match="released"):
            bytes(kept[0])


def test_a_process_uses_few_slots_where_it_is_not_ahead() -> None:
    """Those that were used last: memory that is touched first is slow."""

    def work(_: int) -> Iterator[object]:
        yield b"some"

    with Crew(work, 1, slot=16) as crew:
        for _ in range(3 * slots.COUNT):
            assert [bytes(result) for result in crew.results(crew.ask(0))] == [b"some"]
        memory = crew._members[0]._slots._memory  # type: ignore[union-attr]
        assert sum(memory[at] != 0 for at in range(0, len(memory), 16)) <= 2


def test_nothing_waits_for_a_task_that_is_alone() -> None:
    heard, told = os.pipe()

    def work(task: str) -> Iterator[object]:
        if task == "last":
            os.write(told, b"!")
        ready = select.select([heard], [], [], 60 if task == "slow" else 0)[0]
        yield bool(ready)

    with Crew(work, 2) as crew:
        slow = crew.ask("slow", alone=True)
        others = [crew.ask(task) for task in ("", "", "", "", "last")]
        assert [list(crew.results(number)) for number in others] == [[False]] * 4 + [[True]]
        assert list(crew.results(slow)) == [True]
    os.close(heard)
    os.close(told)


def test_each_process_begins_with_what_it_must_not_share() -> None:
    begun: list[int] = []

    def work(_: object) -> Iterator[object]:
        yield begun == [os.getpid()]

    with Crew(work, 2, begin=lambda: begun.append(os.getpid())) as crew:
        assert [list(crew.results(crew.ask(None))) for _ in range(4)] == [[True]] * 4
    assert begun == []


def test_an_error_arrives_as_it_was_raised_and_others_go_on() -> None:
    def work(task: int) -> Iterator[object]:
        yield task
        if task == 1:
            raise PackError("Pack 1 is corrupt", remedy="Fetch it again")

    with Crew(work, 1) as crew:
        first, second = crew.ask(1), crew.ask(2)
        results = crew.results(first)
        assert next(results) == 1
        with pytest.raises(PackError, match="is corrupt") as caught:
            next(results)
        assert caught.value.remedy == "Fetch it again"
        assert list(crew.results(second)) == [2]


def test_an_error_that_cannot_be_sent_is_told() -> None:
    class Odd(Exception):
        def __reduce__(self) -> tuple[object, ...]:
            raise TypeError

    def work(_: object) -> Iterator[object]:
        raise Odd("of a plugin")
        yield

    with Crew(work, 1) as crew, pytest.raises(RuntimeError, match="Odd: of a plugin"):
        list(crew.results(crew.ask(None)))


def test_a_killed_process_is_an_error_and_not_a_wait() -> None:
    def work(_: object) -> Iterator[object]:
        os.kill(os.getpid(), signal.SIGKILL)
        yield

    with Crew(work, 2) as crew, pytest.raises(StoreError, match="ended from outside"):
        list(crew.results(crew.ask(None)))


def test_what_is_not_its_turn_yet_is_not_all_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew_module, "BUFFERED", 2**20)
    taken: list[int] = []
    receive = crew_module._Member.receive

    def counting(member: crew_module._Member) -> Iterator[object]:
        for message in receive(member):
            taken.append(message[0])
            yield message

    monkeypatch.setattr(crew_module._Member, "receive", counting)

    def work(task: int) -> Iterator[object]:
        if task == 0:  # the one whose turn it is has little to say, and says it late
            deadline = time.monotonic() + 0.5
            while time.monotonic() < deadline:
                pass
            yield b"first"
            return
        for _ in range(64):
            yield bytes(2**18)

    with Crew(work, 2) as crew:
        first, second = crew.ask(0), crew.ask(1)
        assert list(crew.results(first)) == [b"first"]
        assert sum(taken) < 4 * 2**20
        assert sum(map(len, crew.results(second))) == 64 * 2**18


def test_what_a_process_cannot_begin_with_is_told() -> None:
    def begin() -> None:
        raise StoreError("Cannot open the index")

    with Crew(count_up, 2, begin=begin) as crew:
        for _ in range(4):
            with pytest.raises(StoreError, match="Cannot open the index"):
                list(crew.results(crew.ask(3)))


def test_a_system_that_waits_for_processes_itself_is_no_fault() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with Crew(count_up, 2) as crew:
            expected = list(crew.results(crew.ask(3)))
            ended = crew._members[0].pid
            os.kill(ended, signal.SIGKILL)
            while is_alive(ended):
                time.sleep(0.01)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert len(expected) == 6


def test_no_process_is_left() -> None:
    with Crew(count_up, 2) as crew:
        processes = [member.pid for member in crew._members]
        crew.ask(1000)
        assert all(map(is_alive, processes))
    assert not any(map(is_alive, processes))


@pytest.mark.parametrize("ahead", [False, True])
def test_processes_end_when_their_parent_is_killed(*, ahead: bool) -> None:
    """Those that wait for a task, and those that wait for their pipe to be read."""
    program = (
        "import time\n"
        "from git_theta.crew import Crew\n"
        "def work(task):\n"
        "    while True:\n"
        "        yield b'more'\n"
        "with Crew(work, 2, slot=4) as crew:\n"
        f"    tasks = [crew.ask(None) for _ in range({2 * ahead})]\n"
        "    print(*[member.pid for member in crew._members], flush=True)\n"
        "    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    processes = [int(name) for name in parent.stdout.readline().split()]
    assert len(processes) == 2
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 30
    while any(map(is_alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(is_alive, processes))


def test_what_talks_to_the_parent_is_not_held_open() -> None:
    def work(_: object) -> Iterator[object]:
        yield [os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1)]

    with Crew(work, 1) as crew:
        assert list(crew.results(crew.ask(None))) == [["/dev/null", "/dev/null"]]


def test_a_system_that_has_no_process_left_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    forked: list[int] = []
    fork = os.fork

    def second_fails() -> int:
        if forked:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        forked.append(fork())
        return forked[-1]

    monkeypatch.setattr(os, "fork", second_fails)
    open_files = len(os.listdir("/proc/self/fd"))
    with pytest.raises(StoreError, match="Cannot fork"):
        Crew(count_up, 2)
    assert not is_alive(forked[0])
    assert len(os.listdir("/proc/self/fd")) == open_files


@pytest.fixture
def crews(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the crews that digest."""
    found: list[int] = []

    class Counted(Crew):
        def __init__(self, work: Callable[[int], Iterator[object]], size: int) -> None:
            found.append(size)
            super().__init__(work, size)

    monkeypatch.setattr(digests, "Crew", Counted)
    monkeypatch.setattr(digests, "MANY", 100)
    monkeypatch.setattr(digests, "LONG", 1)
    return found


def test_processes_give_the_digests_that_threads_give(
    monkeypatch: pytest.MonkeyPatch, crews: list[int]
) -> None:
    """Of short runs and long ones, with gaps between them, some of the other byte order."""
    random = np.random.default_rng(0)
    data = random.bytes(3 * digests.BLOCK)
    runs, at = [], 0
    while at < 2 * digests.BLOCK:
        nbytes = 2 * int(random.integers(1, 20_000))
        runs.append(Run("I16", at, nbytes, big_endian=len(runs) % 5 == 0))
        at += nbytes + int(random.integers(0, 2)) * 1000
    runs.append(Run("I16", at, (len(data) - at) // 2 * 2, big_endian=False))
    found = []
    for threads in ("2", "1"):
        monkeypatch.setenv("GIT_THETA_THREADS", threads)
        done: list[int] = []
        values, digested = digests.digest_runs(BytesSource(data), runs, done.append)
        assert sum(done) == sum(run.nbytes for run in runs)
        found.append((values, digested._starts, digested._stretches))
        assert crews == [2]
    assert found[0] == found[1]
    expected = [
        np.frombuffer(data[run.start :][: run.nbytes], ">i2" if run.big_endian else "<i2")
        for run in runs
    ]
    assert found[0][0] == [blake3(one.astype("<i2").tobytes()).digest() for one in expected]


@pytest.mark.parametrize(("count", "nbytes"), [(90, 2**18), (1000, 2**10)])
def test_no_process_is_forked_for_little(
    monkeypatch: pytest.MonkeyPatch, crews: list[int], count: int, nbytes: int
) -> None:
    """Few runs, or few bytes."""
    monkeypatch.setenv("GIT_THETA_THREADS", "2")
    runs = [Run("U8", at * nbytes, nbytes, big_endian=False) for at in range(count)]
    digests.digest_runs(BytesSource(bytes(count * nbytes)), runs)
    assert crews == []


def test_what_processes_cannot_digest_is_an_error(
    monkeypatch: pytest.MonkeyPatch, crews: list[int]
) -> None:
    monkeypatch.setenv("GIT_THETA_THREADS", "2")
    size = 3 * digests.BLOCK
    runs = [Run("U8", at, 2**15, big_endian=False) for at in range(0, size, 2**15)]
    with pytest.raises(CheckpointError, match=f"found a source of {size - 1} bytes"):
        digests.digest_runs(BytesSource(bytes(size - 1)), runs)
    assert crews == [2]


def test_memory_is_let_go_of_where_a_task_raised() -> None:
    def work(_: int) -> Iterator[object]:
        yield b"some"
        raise PackError("damaged")

    def shared() -> int:
        return Path("/proc/self/maps").read_text().count("/dev/zero")

    before, kept = shared(), []
    for _ in range(3):
        with pytest.raises(PackError) as raised, Crew(work, 2, slot=2**20) as crew:
            list(crew.results(crew.ask(0)))
        kept.append(raised.value)  # and with it the frames that it went through
    assert shared() == before


@pytest.mark.parametrize("failing", ["mmap", "second pipe"])
def test_a_system_that_has_no_memory_left_is_an_error(
    monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    pipes, pipe = [], os.pipe

    def few_pipes() -> tuple[int, int]:
        if len(pipes) == 2:
            raise OSError(24, "Too many open files")
        pipes.append(pipe())
        return pipes[-1]

    def refuse(*_: object) -> NoReturn:
        raise OSError(12, "Cannot allocate memory")

    if failing == "mmap":
        monkeypatch.setattr(slots.mmap, "mmap", refuse)
    else:
        monkeypatch.setattr(os, "pipe", few_pipes)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(StoreError, match="Cannot fork"):
        Crew(count_up, 2, slot=16)
    assert os.listdir("/proc/self/fd") == before
