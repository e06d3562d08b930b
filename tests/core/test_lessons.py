"""What paid for some buffers is tried first for the others; threads and processes do the same."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from git_theta import crew as crew_module
from git_theta.digests import digest
from git_theta.plugins import Plugins
from git_theta.source import BytesSource
from git_theta.storage import buffers as buffers_module
from git_theta.storage import wanted as wanted_module
from git_theta.storage.buffers import store_buffers
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import BufferId
from git_theta.storage.wanted import BATCH, GIANT, Wanted, giant, scouts
from git_theta.updates import trials
from git_theta.updates.choose import choose
from git_theta.updates.grounds import Bases, Candidate
from git_theta.updates.interface import Numbers
from git_theta.updates.lessons import MAX_LESSONS, Lesson, Lessons

COUNT = 2**15
"""Numbers of a buffer."""
NOTHING = Bases()


def made(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(COUNT, np.float32)


def identify(values: np.ndarray) -> BufferId:
    return BufferId("F32", digest(BytesSource(values.tobytes())))


def wanted(values: np.ndarray, bases: Bases = NOTHING) -> Wanted:
    data = BytesSource(values.tobytes())
    return Wanted(((identify(values), data.size),), data, bases)


def near(*versions: np.ndarray) -> Bases:
    return Bases([Candidate(identify(old), (COUNT,), at) for at, old in enumerate(versions)])


def test_the_same_lesson_is_known_once_and_by_the_most_that_it_left() -> None:
    lessons = Lessons()
    one, better = (Lesson("delta", frozenset([0]), share) for share in (0.5, 0.3))
    lessons.learn([one, None, Lesson("sparse", frozenset([1]), 0.1), better])
    assert lessons.known() == (one, Lesson("sparse", frozenset([1]), 0.1))


def test_what_left_much_or_stood_on_no_version_teaches_nothing() -> None:
    lessons = Lessons()
    lessons.learn([Lesson("delta", frozenset([0]), 0.95), Lesson("ramp", frozenset(), 0.1)])
    assert not lessons.known()


def test_no_more_lessons_than_few_are_tried() -> None:
    lessons = Lessons()
    lessons.learn(Lesson("delta", frozenset([at]), 0.1) for at in range(9))
    assert [set(lesson.origins) for lesson in lessons.known()] == [{8}, {7}, {6}]
    assert len(lessons.known()) == MAX_LESSONS


def asked(folder: Path, monkeypatch: pytest.MonkeyPatch, lessons: list[Lesson]) -> tuple[str, int]:
    """The type that is chosen for a small step from the second of two versions, and questions."""
    other, old = made(0), made(1)
    new = old + np.float32(1e-4) * made(2)
    count = 0
    ask = trials.Survey._ask

    def counting(survey: trials.Survey, *args: object) -> list[trials.Trial]:
        nonlocal count
        count += 1
        return ask(survey, *args)  # type: ignore[arg-type]

    plugins = Plugins()
    with LocalStore(folder) as store:
        store_buffers(store, plugins, [wanted(other), wanted(old)])
        monkeypatch.setattr(trials.Survey, "_ask", counting)
        numbers = Numbers(BytesSource(new.tobytes()), "F32", (COUNT,))
        bases = near(other, old)
        choice = choose(store, plugins, identify(new), numbers, bases, lessons=lessons)
    assert choice.bases == (identify(old),)
    return choice.name, count


def test_a_lesson_that_holds_saves_all_other_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, many = asked(tmp_path / "a", monkeypatch, [])
    assert name == "delta"
    lesson = Lesson("delta", frozenset([1]), 0.7)
    assert asked(tmp_path / "b", monkeypatch, [lesson]) == ("delta", 1)
    assert many > 5


@pytest.mark.parametrize(
    "lesson",
    [
        Lesson("delta", frozenset([0]), 0.5),
        Lesson("delta", frozenset([1]), 0.01),
        Lesson("delta", frozenset([7]), 0.5),
        Lesson("recipe", frozenset([0, 1]), 0.01),
    ],
)
def test_a_lesson_that_does_not_hold_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lesson: Lesson
) -> None:
    assert asked(tmp_path, monkeypatch, [lesson])[0] == "delta"


def test_scouts_are_short_and_have_something_to_be_compared_with() -> None:
    old = made(0)
    some = near(old)
    batch = [wanted(made(at)[: 2**at], some if at > 4 else NOTHING) for at in range(1, 10)]
    assert [batch[at].data.size for at in scouts(batch)] == [4 * 2**5, 4 * 2**6]


def test_a_giant_is_long_and_longer_than_all_others() -> None:
    def sized(*sizes: int) -> list[Wanted]:
        return [Wanted((), BytesSource(bytes(size))) for size in sizes]

    assert giant([]) is None
    assert giant(sized(10, GIANT - 1, 10)) is None
    assert giant(sized(10, GIANT, 10)) == 1
    assert giant(sized(GIANT // 2, GIANT, GIANT // 2)) is None
    assert giant(sized(GIANT)) == 0


def history(folder: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Digests of the packs of a store with many small steps, two merges and something new."""
    olds = [made(at) for at in range(4 * BATCH + 5)]
    olds[BATCH + 1] = np.concatenate(olds[: BATCH + 2])  # a giant
    news: list[Wanted] = []
    for at, old in enumerate(olds):
        step = old + np.float32(1e-4) * np.resize(made(1000 + at), old.shape)
        news.append(wanted(made(5000 + at) if at % 7 == 3 else step, near(old, made(at + 1))))
    forked: list[int] = []
    crew = buffers_module.Crew

    def counting(work, size, **more):  # type: ignore[no-untyped-def]
        forked.append(size)
        return crew(work, size, **more)

    monkeypatch.setattr(buffers_module, "Crew", counting)
    monkeypatch.setattr(buffers_module, "MUCH", 2**20)
    monkeypatch.setattr(wanted_module, "GIANT", 2**20)
    batches = [news[at : at + BATCH] for at in range(0, len(news), BATCH)]
    assert [giant(batch) for batch in batches] == [None, 1, None, None, None]
    with LocalStore(folder) as store:
        store_buffers(store, Plugins(), [wanted(old) for old in olds])
        places = store_buffers(store, Plugins(), news)
        assert places.keys() == {one.buffers[0][0] for one in news}
    assert bool(forked) == (buffers_module.worker_count() > 1 and buffers_module.can_fork())
    packs = (folder / "objects").glob("?" * 64)
    return {hashlib.sha256(pack.read_bytes()).hexdigest() for pack in packs}


def test_processes_and_threads_write_the_same_packs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("GIT_THETA_THREADS", threads)
        found.append(history(tmp_path / threads, monkeypatch))
        monkeypatch.undo()
    assert found[0] == found[1] == found[2]


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes that were held at any time, of what two processes gave too early."""
    if not buffers_module.can_fork():
        pytest.skip("this system does not fork safely")
    found = [0]

    class Watched(buffers_module.Crew):
        def _receive(self, number: int) -> None:
            super()._receive(number)
            found.append(self._buffered)

    monkeypatch.setenv("GIT_THETA_THREADS", "2")
    monkeypatch.setattr(buffers_module, "Crew", Watched)
    monkeypatch.setattr(buffers_module, "MUCH", 2**17)
    return found


def test_little_is_held_of_what_is_not_written_yet(tmp_path: Path, held: list[int]) -> None:
    old = made(0)
    news = [wanted(made(at), near(old)) for at in range(1, 6 * BATCH)]
    with LocalStore(tmp_path) as store:
        store_buffers(store, Plugins(), [wanted(old)])
        held.clear()
        store_buffers(store, Plugins(), news)
    # while one batch is written the next is worked on, however slow whoever writes is
    assert 0 < max(held) < 2 * BATCH * old.nbytes


@pytest.mark.parametrize("places", [[2, BATCH], [0], [BATCH]])
def test_little_is_held_of_giants(
    places: list[int], tmp_path: Path, held: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether one follows another, or the first is what others shall learn from."""
    monkeypatch.setattr(crew_module, "BUFFERED", 2**20)
    monkeypatch.setattr(buffers_module, "AHEAD", 2 * 2**20)
    numbers = np.random.default_rng(0).integers(0, 2**32, (3, 4 * GIANT // 4), np.uint32)
    old, *giants = numbers.view(np.float32)
    news = [wanted(made(at)) for at in range(1, 6 * BATCH)]
    for place, one in zip(places, giants, strict=False):
        news[place] = wanted(one, near(old))
    with LocalStore(tmp_path) as store:
        store_buffers(store, Plugins(), [wanted(old)])
        held.clear()
        monkeypatch.setattr(buffers_module, "MUCH", 0)
        store_buffers(store, Plugins(), news)
    # of its four blocks one that came, and one that is coming
    assert 0 < max(held) < 0.75 * old.nbytes
