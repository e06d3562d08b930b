"""The other files of a checkpoint, for formats that need them: from the commit being rewritten."""

from __future__ import annotations

import os
from collections.abc import Callable

from git_theta.errors import GitError
from git_theta.migrate.objects import Objects
from git_theta.migrate.trees import parse_tree
from git_theta.source import Source


class Siblings:
    """Opens files by their path from the top of a tree.

    Parameters
    ----------
    objects
        git's objects.
    tree
        A commit or a tree.
    open_blob
        Given a blob and its path, opens the file that the blob stands for; None where it cannot
        be had.
    """

    def __init__(
        self, objects: Objects, tree: str, open_blob: Callable[[str, str], Source | None]
    ) -> None:
        self._objects, self._tree, self._open_blob = objects, tree, open_blob

    def __call__(self, path: str) -> Source | None:
        """The file as it was saved; None where there is none."""
        oid = self._find(path)
        return self._open_blob(oid, path) if oid else None

    def _find(self, path: str) -> str:
        tree = self._tree + "^{tree}"
        *folders, name = os.fsencode(path).split(b"/")
        for folder in folders:
            tree = self._entry(tree, folder, is_tree=True)
            if not tree:
                return ""
        return self._entry(tree, name, is_tree=False)

    def _entry(self, tree: str, name: bytes, *, is_tree: bool) -> str:
        found = self._objects.find(tree)
        if not found:
            raise GitError(
                f"Expected a tree {tree}, found none", remedy="git fsck tells what is missing"
            )
        for entry in parse_tree(self._objects.read(found.oid, "tree"), self._objects.width):
            if entry.name == name and (entry.is_tree if is_tree else entry.is_file):
                return entry.oid
        return ""
