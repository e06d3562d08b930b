"""Progress is shown on a terminal, after a while, and leaves nothing behind."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from git_theta import progress as module
from git_theta.human import human_size
from git_theta.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that the test winds."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    terminal = Terminal()
    monkeypatch.setattr(module, "sys", SimpleNamespace(stderr=terminal))
    return terminal


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (90_900_000, "90.9 MB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (3_000_000_000, "3.0 GB"),
        (5 * 10**15, "5000.0 TB"),
    ],
)
def test_sizes_are_told_as_people_read_them(nbytes: int, text: str) -> None:
    assert human_size(nbytes) == text


def test_short_work_shows_nothing(clock: Clock, terminal: Terminal) -> None:
    with progress("Storing x", 100) as advance:
        for _ in range(10):
            clock.now += 0.19
            advance(10)
    assert terminal.getvalue() == ""


def test_long_work_is_shown_and_wiped_out(clock: Clock, terminal: Terminal) -> None:
    with progress("Storing x", 4_000_000) as advance:
        clock.now += 4
        advance(1_000_000)
        advance(1_000_000)  # too soon to be shown again
        clock.now += 1
        advance(4_000_000)
    shown = terminal.getvalue().split("\r")[1:]
    assert shown == [
        "Storing x: 25% of 4.0 MB, 250.0 kB/s\x1b[K",
        "Storing x: 100% of 4.0 MB, 1.2 MB/s\x1b[K",
        "\x1b[K",
    ]


def test_line_is_wiped_out_when_the_work_fails(clock: Clock, terminal: Terminal) -> None:
    def fail() -> None:
        with progress("Storing x", 0) as advance:
            clock.now += 3
            advance(5)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_nothing_is_shown_where_there_is_no_terminal(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("Storing x", 10) as advance:
        clock.now += 60
        advance(10)
    assert capsys.readouterr() == ("", "")
