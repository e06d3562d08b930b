"""What the buffers before have taught: how the next one is probably told best.

Who trains or merges a model mostly does the same to all of its groups. So what was found for some,
after asking every update type about every base, is asked first for the others; it is taken where it
leaves as little as it did there, and nothing else is looked at then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

MAX_LESSONS = 3
"""Most lessons that are tried before everything is."""
_SHARE = 0.8
"""What leaves more than this part of what dense would take teaches nothing."""
_SLACK = 1.25
"""How much more than where it was learned a lesson may leave."""


class Lesson(NamedTuple):
    """The update that paid best for one buffer."""

    name: str
    """Name of the update type."""
    origins: frozenset[int]
    """The versions whose buffers it stood on, by their numbers in the file's lineage."""
    share: float
    """What it was guessed to leave, as a part of what dense would take."""

    def holds(self, guess: int, floor: int) -> bool:
        """Whether a guess of another buffer is as good, where dense would take ``floor``."""
        return guess <= _SLACK * self.share * floor


class Lessons:
    """What was learned so far, the last first."""

    def __init__(self) -> None:
        self._known: list[Lesson] = []

    def known(self) -> Sequence[Lesson]:
        """Those to try."""
        return tuple(self._known[:MAX_LESSONS])

    def learn(self, taught: Iterable[Lesson | None]) -> None:
        """Take lessons; of those that differ in their share alone the one that left more stays."""
        for lesson in taught:
            if lesson is not None and lesson.origins and lesson.share <= _SHARE:
                self._learn(lesson)

    def _learn(self, lesson: Lesson) -> None:
        same = [known for known in self._known if known[:2] == lesson[:2]]
        self._known = [known for known in self._known if known not in same]
        self._known.insert(0, max([lesson, *same], key=lambda one: one.share))
