"""From which filter driver files go to which, and what attributes files say for that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from git_theta.git import attributes, patterns

ATTRIBUTES = ("filter", "diff", "merge", "text")
"""What is compared before and after."""
LFS = ("filter=lfs", "diff=lfs", "merge=lfs", "-text")
NOTHING = tuple(f"!{name}" for name in ATTRIBUTES)
"""Attributes that no driver is given to."""
THETA = tuple(attributes.tracked_line("x").split(" ")[1:])
"""What ``git theta track`` writes."""


class States(NamedTuple):
    """What the attributes files say of a path, in ``git check-attr``'s words."""

    filter: str
    diff: str
    merge: str
    text: str


@dataclass(frozen=True, slots=True)
class Way:
    """A way from one driver to another, or to none."""

    source: str
    target: str
    """Nothing: plain git."""
    words: tuple[str, ...]
    """The target's attributes."""

    def reached(self, states: States) -> bool:
        """Whether attributes hand a file to the target, and to it alone."""
        if self.source in states[:3] or states.text != "unset":
            return False
        return states.filter == self.target if self.target else True

    def overriding(self, states: States) -> tuple[str, ...]:
        """Attributes that reach the target, whatever others (as ``states``) said before."""
        ours = {word.lstrip("-!").partition("=")[0] for word in self.words}
        left = [
            f"!{name}"
            for name, state in zip(ATTRIBUTES, states, strict=True)
            if state == self.source and name not in ours
        ]
        return (*self.words, *left)


IMPORT = Way("lfs", "theta", THETA)
TO_LFS = Way("theta", "lfs", LFS)
TO_GIT = Way("theta", "", (attributes.NO_TEXT,))


def replace_lines(content: str, way: Way, wanted: Callable[[str], bool]) -> str:
    """An attributes file in which lines that named the source name the target.

    Parameters
    ----------
    content
        The file.
    way
        From which driver to which.
    wanted
        Whether to replace the line of a pattern; of a macro, ``[attr]`` and its name.
    """
    theirs = {f"{name}={way.source}" for name in ATTRIBUTES[:3]} | {attributes.NO_TEXT}

    def change(pattern: str, words: list[str]) -> list[str]:
        naming = f"filter={way.source}"
        if naming not in words or not wanted(pattern):
            return words
        at = words.index(naming)
        before = [word for word in words[:at] if word not in theirs]
        after = [word for word in words[at + 1 :] if word not in theirs]
        return [*before, *way.words, *after]

    return attributes.edit(content, change)


def append_missing(content: str, lines: Sequence[tuple[str, tuple[str, ...]]]) -> str:
    """An attributes file with lines at its end: patterns and words, those that it lacks."""
    there = {(rule.pattern, rule.attributes) for rule in attributes.parse(content)}
    missing = [
        " ".join([attributes.quote(pattern), *words])
        for pattern, words in lines
        if (pattern, words) not in there
    ]
    return attributes.append(content, "\n".join(missing)) if missing else content


def mending_words(way: Way, chosen: bool, before: States, after: States) -> tuple[str, ...]:
    """What a line on one file has to say so that it is handled as it should; () for nothing.

    Parameters
    ----------
    way
        From which driver to which.
    chosen
        Whether the file goes this way; another is to be handled as it was.
    before, after
        What the attributes files said of it, and say without the line.
    """
    if chosen:
        return () if way.reached(after) else way.overriding(after)
    return restoring_words(before, after)


def restoring_words(before: States, after: States) -> tuple[str, ...]:
    """Attributes that make of what is said what was said."""
    return tuple(
        _word(name, old)
        for name, old, new in zip(ATTRIBUTES, before, after, strict=True)
        if old != new
    )


def exact(name: str) -> str:
    """The pattern of one file in the folder of the attributes file."""
    return "/" + patterns.escape(name)


def _word(name: str, state: str) -> str:
    signs = {"set": "", "unset": "-", "unspecified": "!"}
    return signs[state] + name if state in signs else f"{name}={state}"
