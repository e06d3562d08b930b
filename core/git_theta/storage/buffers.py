"""From buffers to packs: every buffer that the store lacks becomes a payload.

Updates are chosen and blocks serialized on all cores, and written in order: the same buffers give
the same packs however many work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, count, islice
from typing import Any, NamedTuple

from git_theta.crew import Crew, can_fork
from git_theta.errors import StoreError
from git_theta.parallel import ordered_map, worker_count
from git_theta.plugins import Plugins
from git_theta.storage.encode import Pending, decide, encode
from git_theta.storage.index import Location
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import BufferId
from git_theta.storage.wanted import BATCH, Batches, Wanted, giant, scouts
from git_theta.storage.writing import Encoded, Packs
from git_theta.updates.hold import HELD, LONG, MAX_HELD
from git_theta.updates.lessons import Lesson, Lessons

CHOOSERS = 2
"""Threads that choose updates: many short steps of Python, so more would wait for each other."""
AHEAD = 64 * 2**20
"""Bytes of buffers that processes work on while a giant before them takes its time."""
MUCH = 4 * 2**20
"""Bytes that have something to be compared with for which processes are forked,"""
LOOKED = 4 * BATCH
"""and how many buffers are looked at for them."""


def store_buffers(
    store: LocalStore,
    plugins: Plugins,
    wanted: Iterable[Wanted],
    advance: Callable[[int], None] = lambda _: None,
    settled: Callable[[], None] = lambda: None,
) -> dict[BufferId, Location]:
    """Write buffers into packs of the store, in the order given; where each lies now.

    ``advance`` is told how many bytes of buffers are done, ``settled`` is called when no buffer is
    read any more: the last pack is not done then.

    Raises
    ------
    FileChangedError
        When a buffer no longer has the bytes that its digest was computed from.
    StoreError
        When the store cannot be written to.
    """
    packs = Packs(store, plugins)
    try:
        for encoded in _encoded(store, plugins, wanted):
            packs.write(encoded)
            advance(encoded.nbytes)
        settled()
        packs.finish()
        return packs.locations
    except OSError as fault:
        raise StoreError(
            f"Cannot write to the store {store.folder}: {fault}",
            remedy="Free some space (or mend the disk), then run the command again",
        ) from fault
    finally:
        packs.close()


def _encoded(store: LocalStore, plugins: Plugins, wanted: Iterable[Wanted]) -> Iterator[Encoded]:
    rest = iter(wanted)
    first = list(islice(rest, LOOKED))
    batches = Batches(chain(first, rest))
    much = sum(one.data.size for one in first if one.comparable) >= MUCH
    if much and worker_count() > 1 and can_fork():
        return _in_crew(store, plugins, batches)
    return encode(plugins, _decided(store, plugins, batches))


def _decided(store: LocalStore, plugins: Plugins, batches: Batches) -> Iterator[Pending]:
    """How each is stored: chosen in few threads, and in order."""
    lessons = Lessons()

    def decide_all(some: Iterable[Wanted]) -> Iterator[Pending]:
        return ordered_map(
            lambda one: decide(store, plugins, one, lessons.known()),
            some,
            weigh=_weight,
            limit=MAX_HELD,
            ahead=BATCH,
            threads=CHOOSERS,
        )

    before: list[Lesson | None] = []
    for number in count():
        batch = batches.read(number)
        if not batch:
            return
        first = [] if number else scouts(batch)
        done = dict(zip(first, decide_all(batch[at] for at in first), strict=True))
        lessons.learn(pending.lesson for pending in done.values())
        rest = decide_all([one for at, one in enumerate(batch) if at not in done])
        taught = []
        for at in range(len(batch)):
            pending = done.pop(at) if at in done else next(rest)
            taught.append(None if at == giant(batch) else pending.lesson)
            yield pending
        lessons.learn(before)
        before = taught


def _weight(wanted: Wanted) -> int:
    """Bytes that choosing an update holds: a base, an update, and what is computed of them."""
    return 3 * min(wanted.data.size, HELD) if wanted.comparable else 0


class _Asked:
    """What a process gives for one of the wanted."""

    def __init__(self, results: Iterator[Any]) -> None:
        self._results = results

    @cached_property
    def lesson(self) -> Lesson | None:
        """What it teaches."""
        found: Lesson | None = next(self._results)
        return found

    def blocks(self) -> Iterator[Encoded]:
        """All of the payload."""
        _ = self.lesson  # which comes first
        for encoded in self._results:
            yield encoded._replace(data=next(self._results))


class _Batch(NamedTuple):
    """What was asked of a batch."""

    asked: list[_Asked]
    has_giant: bool
    nbytes: int
    """Of all others."""


def _may_run_ahead(waiting: Sequence[_Batch]) -> bool:
    """Whether more may be asked before the first batch is written: what comes is held meanwhile.

    Behind two giants it might be all of one that comes while the other is worked on.
    """
    first, *others = waiting
    one_giant = first.has_giant and not any(one.has_giant for one in others)
    return not others or (one_giant and sum(one.nbytes for one in waiting) <= AHEAD)


def _in_crew(store: LocalStore, plugins: Plugins, batches: Batches) -> Iterator[Encoded]:
    """Everything encoded in processes, each of the wanted in one of them; given in order.

    A task is the number of a batch and of one of its buffers: what is wanted is worked out in each
    process anew, from where this one had come when it forked.
    """
    lessons = Lessons()
    store.flush()
    for hook in ("theta_update_types", "theta_serializers"):
        plugins.offers(hook)  # imported once, not in each process

    def work(task: tuple[int, int, Sequence[Lesson]]) -> Iterator[Any]:
        number, at, known = task
        one = batches.read(number)[at]
        pending = decide(store, plugins, one, known)
        yield pending.lesson
        threads = None if one.data.size >= LONG else 1  # starting some takes longer
        for encoded in encode(plugins, [pending], threads=threads):
            yield encoded._replace(data=b"")
            yield encoded.data

    with Crew(work, worker_count(), begin=store.after_fork) as crew:

        def ask(number: int, at: int, *, alone: bool) -> _Asked:
            task = (number, at, lessons.known())
            return _Asked(crew.results(crew.ask(task, alone=alone)))

        waiting: deque[_Batch] = deque()
        teachers: deque[list[_Asked]] = deque()
        for number in count():
            batch = batches.read(number)
            slow = giant(batch)
            early = [] if number else scouts(batch)
            first = {at: ask(number, at, alone=at == slow) for at in early}
            lessons.learn(asked.lesson for asked in first.values())
            if len(teachers) == 2:
                lessons.learn(one.lesson for one in teachers.popleft())
            asked = [first.get(at) or ask(number, at, alone=at == slow) for at in range(len(batch))]
            others = [at for at in range(len(batch)) if at != slow]
            waiting.append(
                _Batch(asked, slow is not None, sum(batch[at].data.size for at in others))
            )
            teachers.append([asked[at] for at in others])
            while waiting and not (batch and _may_run_ahead(waiting)):
                for one in waiting.popleft().asked:
                    yield from one.blocks()
            if not batch:
                return
