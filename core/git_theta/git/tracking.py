"""Tracking and untracking patterns: the attributes file of the current folder, changed with care.

A pattern is added only where no other filter driver owns what it matches, and never so that
git-theta would store one of git's own files.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from git_theta.errors import AttributesError
from git_theta.git import attributes, matching, patterns, run
from git_theta.git.matching import FILE, AttributesFile, Statement
from git_theta.git.permissions import users_umask
from git_theta.git.worktree import WorkTree

GIT_FILES = frozenset({FILE, ".gitignore", ".gitmodules", ".lfsconfig", ".mailmap"})
"""Files that git reads itself: behind a filter it would find metadata in them."""

DRIVER = "theta"
"""The name of our filter driver."""

_NO_DRIVER = frozenset({"unspecified", "unset", "set"})


class Done(StrEnum):
    """What became of a pattern."""

    ADDED = "added"
    """A line was added."""
    COMPLETED = "completed"
    """A line was there and lacked ``-text``."""
    REMOVED = "removed"
    """Its line was removed, or our part of it."""
    UNCHANGED = "unchanged"
    """Nothing had to be done."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one pattern, and which files it concerns."""

    pattern: str
    """The pattern."""
    done: Done
    """What was done."""
    stale: tuple[str, ...]
    """Files, from the root, that the index still holds in the form of before."""
    exempt: tuple[Statement, ...]
    """Lines that decide otherwise on files which the pattern matches."""


def tracked(tree: WorkTree) -> list[Statement]:
    """All lines that hand files to git-theta, the weakest first."""
    said = matching.statements(matching.attributes_files(tree), "filter")
    return [statement for statement in said if statement.state == DRIVER]


def check(tree: WorkTree, wanted: Iterable[str]) -> None:
    """Refuse patterns that another driver owns, or that match git's own files.

    Raises
    ------
    AttributesError
        Naming the driver, and the line that gives it the files.
    """
    files = matching.attributes_files(tree)
    paths = _paths(tree)
    for pattern in wanted:
        likely = patterns.sample(pattern) or FILE
        asked = dict.fromkeys([*paths, tree.prefix + FILE, tree.prefix + likely])
        matched = matching.matches(tree, pattern, asked)
        for path in matched:
            if path.rpartition("/")[2] in GIT_FILES:
                raise AttributesError(
                    f"The pattern {pattern} matches {path}, which git has to read itself",
                    remedy="Track a narrower pattern, such as '*.safetensors'",
                )
        _refuse_owned(tree, files, pattern, matched)


def track(tree: WorkTree, wanted: Iterable[str]) -> list[Outcome]:
    """Add patterns to the attributes file of the current folder, after :func:`check`."""
    known = matching.macros(matching.attributes_files(tree))
    before = after = _read(tree)
    done: dict[str, Done] = {}
    for pattern in wanted:
        said = [
            attribute
            for rule in attributes.parse(after)
            if not rule.is_macro and attributes.same(rule.pattern, pattern)
            for attribute in rule.attributes
        ]
        if attributes.state(said, "filter", known) == DRIVER:
            rest = after
            if attributes.state(said, "text", known) != "unset":
                rest = attributes.complete(after, pattern)
            done.setdefault(pattern, Done.UNCHANGED if rest == after else Done.COMPLETED)
            after = rest
        else:
            after = attributes.append(after, attributes.tracked_line(pattern))
            done[pattern] = Done.ADDED
    return _finish(tree, done, before, after)


def untrack(tree: WorkTree, wanted: Iterable[str]) -> list[Outcome]:
    """Take our attributes from patterns in the attributes file of the current folder."""
    before = after = _read(tree)
    done: dict[str, Done] = {}
    for pattern in wanted:
        rest = attributes.remove(after, pattern)
        done.setdefault(pattern, Done.UNCHANGED if rest == after else Done.REMOVED)
        after = rest
    return _finish(tree, done, before, after)


def _finish(tree: WorkTree, done: dict[str, Done], before: str, after: str) -> list[Outcome]:
    """Write the file, and see for which files that changed the filter, and for which it did not."""
    paths = _paths(tree)
    matched = {pattern: matching.matches(tree, pattern, paths) for pattern in done}
    everything = {path for found in matched.values() for path in found}
    old = matching.filters(tree, everything)
    if before != after:
        _write(tree, after)
    new = matching.filters(tree, everything)
    stored = _stored(tree)
    stale = {p for p in stored & everything if (old[p] == DRIVER) != (new[p] == DRIVER)}
    lines = matching.deciding(tree, matching.attributes_files(tree), "filter", everything)

    def outcome(pattern: str, what: Done) -> Outcome:
        tracks = what is not Done.REMOVED
        exempt = {
            lines[path]: None
            for path in matched[pattern]
            if path in lines and (new[path] == DRIVER) != tracks
        }
        return Outcome(
            pattern, what, tuple(path for path in matched[pattern] if path in stale), tuple(exempt)
        )

    return [outcome(pattern, what) for pattern, what in done.items()]


def _refuse_owned(
    tree: WorkTree, files: Sequence[AttributesFile], pattern: str, matched: Sequence[str]
) -> None:
    drivers = matching.filters(tree, matched)
    owned = [path for path in matched if drivers[path] not in _NO_DRIVER | {DRIVER}]
    if owned:
        line = matching.deciding(tree, files, "filter", owned[:1]).get(owned[0])
        raise _owned(pattern, drivers[owned[0]], line, owned[0].removeprefix(tree.prefix))
    # No file matches yet, and a character class has no sample: the same pattern may stand there.
    same = [
        statement
        for statement in matching.statements(files, "filter")
        if statement.file.name == tree.prefix + FILE
        and attributes.same(statement.rule.pattern, pattern)
    ]
    if same and same[-1].state not in _NO_DRIVER | {DRIVER}:
        raise _owned(pattern, same[-1].state, same[-1], pattern)


def _owned(pattern: str, driver: str, line: Statement | None, path: str) -> AttributesError:
    where = f" by {line.where}" if line else ""
    rule = attributes.quote(line.rule.pattern if line else pattern)
    first = f"git lfs untrack '{rule}'" if driver == "lfs" else f"Remove filter={driver} there"
    return AttributesError(
        f"The pattern {pattern} matches {path}, which is given to the filter driver "
        f"{driver!r}{where}",
        remedy=f"{first}; or leave {path} out of it, with a line below: "
        f"{attributes.quote(path)} !filter",
    )


def _paths(tree: WorkTree) -> list[str]:
    """Files below the current folder, from the root: those in the index and those to be added."""
    listed = run.run(
        *("ls-files", "-z", "--full-name", "--cached", "--others", "--exclude-standard"),
        cwd=tree.folder,
    )
    return list(dict.fromkeys(os.fsdecode(listed).split("\0")[:-1]))


def _stored(tree: WorkTree) -> set[str]:
    """Files below the current folder that the index holds content of; links are not filtered."""
    listed = run.run("ls-files", "-z", "--full-name", "--stage", cwd=tree.folder)
    entries = [entry.split("\t", 1) for entry in os.fsdecode(listed).split("\0")[:-1]]
    return {path for entry, path in entries if entry.startswith("100")}


def _read(tree: WorkTree) -> str:
    path = tree.folder / FILE
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise AttributesError(
            f"Expected a file at {tree.prefix}{FILE}, found something else (git follows no link)",
            remedy="Replace it with a file",
        )
    return os.fsdecode(path.read_bytes()) if path.exists() else ""


def _write(tree: WorkTree, content: str) -> None:
    path = tree.folder / FILE
    try:
        handle, name = tempfile.mkstemp(prefix=f"{FILE}.", dir=tree.folder)
        with os.fdopen(handle, "wb") as out:
            out.write(os.fsencode(content))
        mode = path.stat().st_mode & 0o7777 if path.exists() else 0o666 & ~users_umask()
        Path(name).chmod(mode)
        Path(name).replace(path)
    except OSError as error:
        raise AttributesError(
            f"{tree.prefix}{FILE} cannot be written: {error}",
            remedy="Check the folder's permissions",
        ) from error
