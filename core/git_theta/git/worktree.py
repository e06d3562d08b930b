"""The work tree that a command runs in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from git_theta.errors import GitError
from git_theta.git import run


@dataclass(frozen=True, slots=True)
class WorkTree:
    """The work tree that a command runs in, and where in it."""

    top: Path
    """Its root, absolute."""
    prefix: str
    """The current folder below the root with a slash at its end; nothing for the root."""

    @property
    def folder(self) -> Path:
        """The current folder, absolute."""
        return self.top / self.prefix


def work_tree() -> WorkTree:
    """The work tree of the current folder.

    Raises
    ------
    GitError
        When there is none: outside of a repository, in a bare one, inside ``.git``.
    """
    inside = run.text("rev-parse", "--is-inside-work-tree")
    if inside != "true":
        raise GitError(
            f"Expected a work tree, found a bare repository or git's own folder at {Path.cwd()}",
            remedy="Run it in a clone that has a work tree",
        )
    top = run.text("rev-parse", "--show-toplevel")
    return WorkTree(Path(top), run.text("rev-parse", "--show-prefix"))
