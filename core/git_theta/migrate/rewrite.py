"""Trees in which chosen files are other blobs, and attributes files say so.

A folder is looked at once for each context it lies in, so a history costs what changed in it.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from enum import Flag, auto
from typing import NamedTuple, TypeVar

from git_theta.errors import AttributesError, GitError
from git_theta.git.matching import FILE
from git_theta.git.tracking import GIT_FILES
from git_theta.migrate.contexts import Contexts
from git_theta.migrate.drivers import (
    NOTHING,
    States,
    Way,
    append_missing,
    exact,
    mending_words,
    restoring_words,
)
from git_theta.migrate.objects import Objects
from git_theta.migrate.selection import Selection
from git_theta.migrate.trees import TreeEntry, parse_tree, print_tree, with_entry
from git_theta.migrate.writer import NewObjects

REMEMBERED = 2**16
"""Folders of which it is remembered what became of them."""
MAX_DEPTH = 256
"""Most folders in folders."""

_FILE = os.fsencode(FILE)
_OWN = {os.fsencode(name) for name in GIT_FILES}

Result = TypeVar("Result")


class Found(Flag):
    """What is in a folder and below."""

    NOTHING = 0
    FILES = auto()
    """Files that go another way."""
    LINES = auto()
    """Attributes files with lines that name another driver then."""


class _Folder(NamedTuple):
    """A folder of a commit: its entries, and those of them that attributes speak of."""

    entries: list[TreeEntry]
    files: list[TreeEntry]
    paths: list[str]
    content: str | None
    """Of its attributes file."""


class Trees:
    """Surveys and rewrites trees; ``convert`` makes a new blob of an old one and a path."""

    def __init__(
        self,
        way: Way,
        selection: Selection,
        contexts: Contexts,
        objects: Objects,
        new: NewObjects,
        convert: Callable[[str, str], str],
    ) -> None:
        self._way, self._selection, self._contexts = way, selection, contexts
        self._objects, self._new, self._convert = objects, new, convert
        self._surveyed: OrderedDict[object, Found] = OrderedDict()
        self._rewritten: OrderedDict[object, str] = OrderedDict()
        self.chosen: dict[str, dict[str, None]] = {}
        """Blobs of chosen files, each with the paths at which it was surveyed."""
        self.lost: Collection[str] = ()
        """Blobs that stay as they are, with the attributes they have."""

    def survey(self, tree: str, prefix: str = "", context: int = 0) -> Found:
        """What there is to do in a tree; notes chosen files."""
        key = (tree, prefix, context)
        known = self._surveyed.get(key)
        if known is not None:
            return known
        folder = self._read(tree, prefix)
        found = Found.NOTHING
        if folder.content is not None:
            context = self._contexts.push(context, prefix, folder.content)
            if self._selection.rewrite(folder.content) != folder.content:
                found |= Found.LINES
        states = self._contexts.states(context, folder.paths)
        chosen = self._chosen(folder, states)
        for entry, path, state, is_chosen in zip(
            folder.files, folder.paths, states, chosen, strict=True
        ):
            if is_chosen:
                found |= Found.FILES
                self.chosen.setdefault(entry.oid, {})[path] = None
                self._selection.from_lfs |= state.filter == "lfs"
        for entry in folder.entries:
            if entry.is_tree:
                found |= self.survey(entry.oid, _below(prefix, entry), context)
        return _remember(self._surveyed, key, found)

    def rewrite(
        self, tree: str, lines: bool, prefix: str = "", before: int = 0, after: int = 0
    ) -> str:
        """The tree to take a tree's place.

        Parameters
        ----------
        tree
            Its name.
        lines
            Whether the attributes file at the top gets the selection's lines.
        prefix
            Its folder with a slash at its end; nothing for the top.
        before, after
            What the attributes files above said, and say.
        """
        key = (tree, prefix, before, after, lines)
        known = self._rewritten.get(key)
        if known is not None:
            return known
        folder = self._read(tree, prefix)
        content = self._selection.rewrite(folder.content or "")
        if lines:
            content = self._selection.add_lines(content)
        if folder.content is not None:
            before = self._contexts.push(before, prefix, folder.content)
        if content:
            after = self._contexts.push(after, prefix, content)
        changed, mended = self._rewrite_files(folder, before, after)
        content = append_missing(content, mended)
        for entry in folder.entries:
            if entry.is_tree:
                below = _below(prefix, entry)
                changed[entry.name] = self.rewrite(entry.oid, False, below, before, after)
        entries = [e._replace(oid=changed.get(e.name, e.oid)) for e in folder.entries]
        if content or folder.content:
            is_new = folder.content is None
            content = self._mend_itself(content, prefix + FILE, is_new, before, after)
        if content != (folder.content or ""):
            entries = self._with_attributes(entries, prefix, content)
        result = tree
        if entries != folder.entries:
            result = self._new.add("tree", print_tree(entries))
        return _remember(self._rewritten, key, result)

    def _rewrite_files(
        self, folder: _Folder, before: int, after: int
    ) -> tuple[dict[bytes, str], list[tuple[str, tuple[str, ...]]]]:
        """New blobs by name, and lines that the folder's attributes file needs then."""
        changed, mended = {}, []
        states = [self._contexts.states(context, folder.paths) for context in (before, after)]
        chosen = self._chosen(folder, states[0])
        for entry, path, old, new, wanted in zip(
            folder.files, folder.paths, *states, chosen, strict=True
        ):
            goes = wanted and entry.oid not in self.lost
            if goes:
                changed[entry.name] = self._convert(entry.oid, path)
            words = mending_words(self._way, goes, old, new)
            if words:
                mended.append((exact(os.fsdecode(entry.name)), words))
        return changed, mended

    def _chosen(self, folder: _Folder, states: Sequence[States]) -> list[bool]:
        chosen = self._selection.chosen(folder.paths, states)
        return [
            wanted and entry.name not in _OWN
            for entry, wanted in zip(folder.files, chosen, strict=True)
        ]

    def _mend_itself(self, content: str, path: str, is_new: bool, before: int, after: int) -> str:
        """An attributes file that no driver is given; git reads it itself."""
        old, new = (self._contexts.states(context, [path])[0] for context in (before, after))
        if is_new and new.filter not in ("unset", "unspecified"):
            words = NOTHING  # a pattern of others reaches what was not there
        elif old == new:
            return content
        else:
            words = NOTHING if old.filter == self._way.source else restoring_words(old, new)
        return append_missing(content, [(exact(FILE), words)])

    def _with_attributes(
        self, entries: Sequence[TreeEntry], prefix: str, content: str
    ) -> list[TreeEntry]:
        there = [entry for entry in entries if entry.name == _FILE]
        if there and not there[0].is_file:
            raise AttributesError(
                f"Expected a file at {prefix}{FILE} in all of history, found something else",
                remedy="Leave the files of that folder out with --exclude",
            )
        mode = there[0].mode if there else b"100644"
        blob = self._new.add("blob", os.fsencode(content))
        return with_entry(entries, TreeEntry(mode, _FILE, blob))

    def _read(self, tree: str, prefix: str) -> _Folder:
        if prefix.count("/") > MAX_DEPTH:
            raise GitError(f"Expected at most {MAX_DEPTH} folders in folders, found {prefix[:80]}")
        entries = parse_tree(self._objects.read(tree, "tree"), self._objects.width)
        files = [entry for entry in entries if entry.is_file and entry.name != _FILE]
        paths = [prefix + os.fsdecode(entry.name) for entry in files]
        content = None
        for entry in entries:
            if entry.name == _FILE and entry.is_file:
                content = os.fsdecode(self._objects.read(entry.oid, "blob"))
        return _Folder(entries, files, paths, content)

    def forget(self) -> None:
        """Survey anew, after the selection has changed."""
        self._surveyed.clear()
        self.chosen.clear()
        self._selection.from_lfs = False


def _below(prefix: str, entry: TreeEntry) -> str:
    return f"{prefix}{os.fsdecode(entry.name)}/"


def _remember(known: OrderedDict[object, Result], key: object, result: Result) -> Result:
    known[key] = result
    if len(known) > REMEMBERED:
        known.popitem(last=False)
    return result
