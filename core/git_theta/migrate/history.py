"""Commits in order, each rewritten once its parents are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from git_theta.migrate.commits import parse_commit, rewrite_commit
from git_theta.migrate.objects import Objects, commits
from git_theta.migrate.rewrite import Found, Trees
from git_theta.migrate.writer import NewObjects


class History:
    """The commits that revisions reach.

    Parameters
    ----------
    objects
        git's objects.
    trees
        What rewrites a commit's files.
    revisions
        As ``git rev-list`` takes them.
    by_lines
        Whether files were chosen otherwise than by the lines that are there: a commit that has
        any, and all that descend from it, get lines of their own.
    """

    def __init__(
        self, objects: Objects, trees: Trees, revisions: Sequence[str], *, by_lines: bool
    ) -> None:
        self._objects, self._trees = objects, trees
        self._revisions, self._by_lines = revisions, by_lines
        self.count = 0
        """Commits that there are."""
        self.touched: set[str] = set()
        """Commits that become others, as far as a survey tells."""
        self.unsigned = 0
        """Commits that were signed, and are not any more."""
        self.renamed: dict[str, str] = {}
        """New names of commits that became others."""
        self.first: list[str] = []
        """Those of them whose parents stayed."""
        self.commit = ""
        """The one that is being rewritten, its old name."""
        self.parents: tuple[str, ...] = ()
        """Of that commit, their old names."""

    def survey(self) -> None:
        """Look at all trees, and count."""
        self.count = 0
        self.touched.clear()
        for oid in commits(self._revisions):
            commit = parse_commit(self._objects.read(oid, "commit"))
            found = self._trees.survey(commit.tree)
            if found or not self.touched.isdisjoint(commit.parents):
                self.touched.add(oid)
            self.count += 1

    def rewrite(self, new: NewObjects, note: Callable[[str, str], None]) -> None:
        """Write new commits; ``note`` is told the old and the new tree of each."""
        with_lines: set[str] = set()
        for oid in commits(self._revisions):
            data = self._objects.read(oid, "commit")
            commit = parse_commit(data)
            self.commit, self.parents = oid, commit.parents
            found = self._trees.survey(commit.tree)
            if self._by_lines and (
                Found.FILES in found or not with_lines.isdisjoint(commit.parents)
            ):
                with_lines.add(oid)
            tree = self._trees.rewrite(commit.tree, oid in with_lines)
            if self.renamed.keys().isdisjoint(commit.parents):
                if tree == commit.tree:
                    continue
                self.first.append(oid)
            made = rewrite_commit(data, tree, self.new_name)
            self.renamed[oid] = new.add("commit", made.data)
            self.unsigned += made.was_signed
            if tree != commit.tree:
                note(commit.tree, tree)

    def new_name(self, oid: str) -> str:
        """What a commit is called now."""
        return self.renamed.get(oid, oid)
