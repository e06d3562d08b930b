"""Ordered work on several threads, within a weight."""

from __future__ import annotations

import threading

import pytest

from git_theta.parallel import ordered_map


@pytest.mark.parametrize("threads", ["1", "4"])
def test_results_come_in_the_order_of_the_items(
    threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_THETA_THREADS", threads)
    assert list(ordered_map(lambda n: n * n, range(100))) == [n * n for n in range(100)]


def test_what_is_under_way_weighs_no_more_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_THETA_THREADS", "4")
    fed, taken, most = 0, 0, 0

    def items():
        nonlocal fed
        for number in range(50):
            fed += number % 7
            yield number

    for number in ordered_map(lambda n: n, items(), weigh=lambda n: n % 7, limit=10):
        most = max(most, fed - taken)
        taken += number % 7
    assert taken == fed == sum(number % 7 for number in range(50))
    assert most <= 10 + 6  # the limit, and the one that waits


def test_one_item_heavier_than_the_limit_is_worked_on_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GIT_THETA_THREADS", "4")
    busy, most, lock = 0, 0, threading.Lock()

    def work(number: int) -> int:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        with lock:
            busy -= 1
        return number

    found = list(ordered_map(work, range(20), weigh=lambda _: 5, limit=3))
    assert (found, most) == (list(range(20)), 1)
