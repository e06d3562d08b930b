"""What a user types after ``git theta track``, as a pattern that git's attributes understand.

Patterns follow gitattributes: without a slash they match names in every folder below, with one they
start at the folder of the attributes file. Paths are accepted where a pattern is meant: absolute
ones, with ``./`` or ``..``, and folders, which git's attributes themselves cannot match.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path

from git_theta.errors import AttributesError
from git_theta.git import attributes

_GLOB = re.compile(r"[*?\[\\]")
_TOKEN = re.compile(r"\\(.)|\*\*/|\*+|\?|(\[)", re.DOTALL)


def from_argument(argument: str, *, folder: Path, top: Path, literal: bool = False) -> str:
    """The pattern that an argument stands for.

    Parameters
    ----------
    argument
        As typed: a pattern, or a path.
    folder
        The current folder, absolute, whose attributes file the pattern is for.
    top
        The root of the work tree.
    literal
        The argument is the name of one file or folder; no character in it is special.

    Raises
    ------
    AttributesError
        When git's attributes cannot say it, or it is about something outside ``folder``.
    """
    _refuse(argument, literal=literal)
    path = _relative(argument, folder, top)
    anchored = path.startswith("/")
    wants_folder = argument.endswith("/")
    path = posixpath.normpath(path.lstrip("/")) if path.strip("/") else "."
    if path == ".." or path.startswith("../"):
        raise _outside(argument, folder)
    plain = literal or not _GLOB.search(path)
    if wants_folder or path == "." or (plain and os.path.isdir(folder / path)):
        path = "**" if path == "." else f"{escape(path) if literal else path}/**"
    elif literal:
        # One file is meant, so its name must not match in the folders below.
        path, anchored = escape(path), True
    pattern = f"/{path}" if anchored and "/" not in path else path
    if len(os.fsencode(attributes.tracked_line(pattern))) > attributes.MAX_LINE:
        raise AttributesError(
            f"The pattern {pattern[:60]!r}... makes a line of more than "
            f"{attributes.MAX_LINE} bytes, which git ignores",
            remedy="Track its folder or its suffix instead",
        )
    return pattern


def escape(path: str) -> str:
    """A path as a pattern that matches only that path."""
    return re.sub(r"[*?\[\\]|\A!", lambda special: "\\" + special[0], path)


def from_top(pattern: str, prefix: str) -> str:
    """A pattern of the attributes file in folder ``prefix``, said from the root of the work tree.

    Parameters
    ----------
    pattern
        The pattern as written there.
    prefix
        The folder with a slash at its end, or nothing for the root.
    """
    if not prefix:
        return pattern
    inner = pattern.removeprefix("/")
    deep = "" if "/" in pattern.rstrip("/") else "**/"
    return escape(prefix) + deep + inner


def sample(pattern: str) -> str | None:
    """A path that a pattern likely matches, None when its character classes make that hard."""
    if any(token[2] for token in _TOKEN.finditer(pattern)):
        return None

    def plainly(token: re.Match[str]) -> str:
        return token[1] or ("" if token[0] == "**/" else "x")

    return _TOKEN.sub(plainly, pattern).lstrip("/") or None


def _refuse(argument: str, *, literal: bool) -> None:
    if not argument or "\0" in argument:
        raise AttributesError(f"Expected a pattern, found {argument!r}")
    if literal:
        return
    if argument.startswith("!"):
        raise AttributesError(
            f"{argument!r} is a negative pattern, which git's attributes do not know",
            remedy=f"To leave files out, add a line '{argument[1:]} -filter' below the pattern "
            "that tracks them; for a file of this very name use --filename",
        )
    if argument.startswith(attributes.MACRO):
        raise AttributesError(
            f"{argument!r} would define a macro: git reads [attr] at the start of a line so",
            remedy="Write the characters in another order, [atr], or use --filename",
        )
    if len(argument) - len(argument.rstrip("\\")) & 1:
        raise AttributesError(
            f"{argument!r} ends with a backslash that escapes nothing: git matches no file with it",
            remedy="Double it, or use --filename",
        )


def _relative(argument: str, folder: Path, top: Path) -> str:
    if not argument.startswith("/"):
        return argument
    for path in (posixpath.normpath(argument), _resolved(argument)):
        if Path(path).is_relative_to(top):
            if not Path(path).is_relative_to(folder):
                raise _outside(argument, folder)
            return "/" + str(Path(path).relative_to(folder))
    # A leading slash is also git's way to say "in this folder only": /model.pt, /models/*.pt.
    first = argument.lstrip("/").split("/")[0]
    if first and os.path.lexists(f"/{first}") and not os.path.lexists(folder / first):
        raise AttributesError(
            f"{argument} is outside the work tree {top}",
            remedy="Track files of this repository only; copy the file into it",
        )
    return argument


def _resolved(path: str) -> str:
    # The last part may be a pattern or a link that is tracked itself; only its folder is resolved.
    head, tail = posixpath.split(path.rstrip("/"))
    return posixpath.normpath(os.path.join(os.path.realpath(head), tail))


def _outside(argument: str, folder: Path) -> AttributesError:
    return AttributesError(
        f"{argument} is outside {folder}; its .gitattributes speaks of files below it only",
        remedy="Run git theta track in the folder of the file, or above it",
    )
