"""Attributes files as text: reading their rules, quoting patterns, adding and removing our lines.

This follows git's own parser (``attr.c``): blanks, comments, patterns in C quotes, macros, a byte
order mark at the start. Nothing here touches a disk; :mod:`git_theta.git.tracking` does. Text is
``str`` as :func:`os.fsdecode` gives it, so bytes that are no valid text survive.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

FILTER = "filter=theta"
"""The attribute that hands a file to git-theta."""

NO_TEXT = "-text"
"""The attribute that keeps git from converting line endings."""

MAX_LINE = 2047
"""Bytes in a line; git ignores longer ones."""

MACRO = "[attr]"
"""What a line starts with that defines a macro."""

BUILTIN_MACROS = {"binary": ("-diff", "-merge", "-text")}
"""Macros that git itself defines."""

_BLANK = " \t\r\n"
_BOM = os.fsdecode(b"\xef\xbb\xbf")
_ESCAPES = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13, '"': 34, "\\": 92}
_LETTERS = {value: letter for letter, value in _ESCAPES.items()}
_QUOTED = re.compile(r'"((?:[^"\\]|\\[abtnvfr"\\]|\\[0-3][0-7][0-7])*)"')
_ESCAPED = re.compile(rb'\\([abtnvfr"\\]|[0-7]{3})')


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of an attributes file that says something."""

    pattern: str
    """The pattern without quotes; of a macro definition, the macro's name."""
    attributes: tuple[str, ...]
    """As written: ``text``, ``-text``, ``!text``, ``filter=theta``."""
    line: int
    """Number of the line, from 1."""
    is_macro: bool
    """Whether the line defines a macro instead of matching paths."""


def parse(content: str) -> Iterator[Rule]:
    """The rules of an attributes file, in order; lines that git ignores are left out."""
    for number, line in enumerate(content.removeprefix(_BOM).split("\n"), 1):
        split = _split(line)
        if split is None or len(os.fsencode(line)) > MAX_LINE:
            continue
        pattern, states = split
        if len(pattern) > len(MACRO) and pattern.startswith(MACRO):
            yield Rule(pattern[len(MACRO) :], tuple(states.split()), number, True)
        elif not pattern.startswith("!"):
            yield Rule(pattern, tuple(states.split()), number, False)


def state(attributes: Iterable[str], name: str, macros: Mapping[str, tuple[str, ...]]) -> str:
    """What attributes say about one of them, in ``git check-attr``'s words.

    Parameters
    ----------
    attributes
        As written in a rule; the last that speaks of ``name`` wins.
    name
        The attribute asked for.
    macros
        What every macro stands for.

    Returns
    -------
    str
        ``set``, ``unset``, ``unspecified`` (they say ``!name``), its value, or nothing when they
        do not speak of it.
    """
    found = ""
    for attribute in _expand(attributes, macros, frozenset()):
        bare, equals, value = attribute.lstrip("-!").partition("=")
        if bare == name:
            signs = {"-": "unset", "!": "unspecified"}
            found = value if equals else signs.get(attribute[0], "set")
    return found


def quote(pattern: str) -> str:
    """A pattern as it stands in an attributes file, in C quotes where git needs them."""
    raw = os.fsencode(pattern)
    if raw and raw[:1] not in b'"#' and not any(byte <= 32 or byte == 127 for byte in raw):
        return pattern
    quoted = b"".join(
        b"\\" + _LETTERS[byte].encode()
        if byte in _LETTERS
        else b"\\%03o" % byte
        if byte < 32 or byte == 127
        else bytes([byte])
        for byte in raw
    )
    return f'"{os.fsdecode(quoted)}"'


def same(one: str, other: str) -> bool:
    """Whether two patterns of one file mean the same: a leading slash adds nothing to an inner."""
    return _anchorless(one) == _anchorless(other)


def tracked_line(pattern: str) -> str:
    """The line that tracks a pattern."""
    return f"{quote(pattern)} {FILTER} {NO_TEXT}"


def append(content: str, line: str) -> str:
    """Content with a line added at its end, in the line endings it has."""
    ending = "\r\n" if content.count("\r\n") * 2 > content.count("\n") else "\n"
    if content and content != _BOM and not content.endswith("\n"):
        content += ending
    return content + line + ending


def complete(content: str, pattern: str) -> str:
    """Content in which each line of a pattern that has ``filter=theta`` has ``-text`` as well."""

    def add_no_text(words: list[str]) -> list[str]:
        if FILTER not in words or NO_TEXT in words:
            return words
        kept = [word for word in words if word.lstrip("-!").partition("=")[0] != "text"]
        return [*kept, NO_TEXT]

    return _edit(content, pattern, add_no_text)


def remove(content: str, pattern: str) -> str:
    """Content without our attributes on a pattern; a line that says nothing else goes."""
    ours = (FILTER, NO_TEXT)
    return _edit(
        content,
        pattern,
        lambda words: [word for word in words if word not in ours] if FILTER in words else words,
    )


def edit(content: str, change: Callable[[str, list[str]], list[str]]) -> str:
    """Content in which each line has the attributes that ``change`` makes of its own.

    It is given the pattern, of a macro with :data:`MACRO` before its name, and the attributes as
    written. A line that has none left goes; what does not change stays as it is, byte for byte.
    """
    bom = _BOM if content.startswith(_BOM) else ""
    kept = []
    for line in content.removeprefix(_BOM).split("\n"):
        split = _split(line)
        if split:
            words = split[1].split()
            changed = change(split[0], words)
            if words and not changed:
                continue
            if changed != words:
                head = line[: len(line) - len(split[1])].rstrip(_BLANK)
                line = " ".join([head, *changed]) + ("\r" if line.endswith("\r") else "")
        kept.append(line)
    return bom + "\n".join(kept)


def _edit(content: str, pattern: str, change: Callable[[list[str]], list[str]]) -> str:
    def change_same(found: str, words: list[str]) -> list[str]:
        ours = not found.startswith(MACRO) and same(found, pattern)
        return change(words) if ours else words

    return edit(content, change_same)


def _split(line: str) -> tuple[str, str] | None:
    start = line.lstrip(_BLANK)
    if not start or start.startswith("#"):
        return None
    if quoted := _QUOTED.match(start):
        return _unescape(quoted[1]), start[quoted.end() :]
    pattern = re.split(f"[{_BLANK}]", start, maxsplit=1)[0]
    return pattern, start[len(pattern) :]


def _unescape(quoted: str) -> str:
    def byte(match: re.Match[bytes]) -> bytes:
        escape = match[1].decode()
        return bytes([_ESCAPES[escape] if escape in _ESCAPES else int(escape, 8)])

    return os.fsdecode(_ESCAPED.sub(byte, os.fsencode(quoted)))


def _expand(
    attributes: Iterable[str], macros: Mapping[str, tuple[str, ...]], inside: frozenset[str]
) -> Iterator[str]:
    for attribute in attributes:
        if attribute in macros and attribute not in inside:
            yield from _expand(macros[attribute], macros, inside | {attribute})
        yield attribute


def _anchorless(pattern: str) -> str:
    bare = pattern.removeprefix("/")
    return bare if "/" in bare.rstrip("/") else pattern
