"""Has the hook be there whenever the filter runs, for the price of a few looks at files.

A cloner never runs ``git theta track``, and hooks are not cloned: so the filter sees to it. What
was found is written down with the stamps of the files that it depends on; nothing is asked again
as long as those are the same.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from git_theta.errors import GitError

_STAMP = "hook"


class HookWatch:
    """The hook of one repository, looked at once a process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "theta" / _STAMP
        self._looked = False
        self._problem = ""
        self._warned = False
        self._watched: list[Path] = []

    def look(self) -> None:
        """Set the hook up where something changed since it was looked at; never raises."""
        if self._looked:
            return
        self._looked = True
        if not self._unchanged():
            with contextlib.suppress(GitError, OSError):
                self._set_up()

    def warn(self) -> None:
        """Say once, in this process and all later ones, why the hook could not be set up."""
        self.look()
        if self._problem and not self._warned:
            self._warned = True
            for line in self._problem.split("\n"):
                print(f"git-theta: {line}", file=sys.stderr)
            self._save()

    def _unchanged(self) -> bool:
        try:
            said, warned, *rest = os.fsdecode(self._file.read_bytes()).split("\0")
        except (OSError, ValueError):
            return False
        self._problem, self._warned = said, bool(warned)
        stamps, self._watched = rest[0::2], [Path(path) for path in rest[1::2]]
        return bool(stamps) and all(map(_same, self._watched, stamps))

    def _set_up(self) -> None:
        from git_theta.git.hooks import VARIABLE, set_up

        hook = set_up()
        said = ""
        if hook.problem:
            said = (
                f"warning: git push will not send weights: {hook.problem}\n{hook.remedy}\n"
                f"Or run git theta push before each push, and: git config {VARIABLE} false"
            )
        self._warned = self._warned and said == self._problem
        self._problem = said
        self._watched = [hook.path, *self._configurations()]
        self._save()

    def _configurations(self) -> list[Path]:
        """Files that may name another folder of hooks."""
        home = Path(os.path.expanduser("~"))
        user = os.environ.get("GIT_CONFIG_GLOBAL")
        xdg = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config", "git", "config")
        return [self._folder / "config", *([Path(user)] if user else [home / ".gitconfig", xdg])]

    def _save(self) -> None:
        fields = [self._problem, "warned" if self._warned else ""]
        for path in self._watched:
            fields += [_stamp(path), str(path)]
        temporary = self._file.with_name(f"{_STAMP}.{os.getpid()}")
        with contextlib.suppress(OSError):  # then it is looked at again the next time
            temporary.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(os.fsencode("\0".join(fields)))
            os.replace(temporary, self._file)


def _same(path: Path, stamp: str) -> bool:
    return _stamp(path) == stamp


def _stamp(path: Path) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return "-"
    return f"{found.st_mtime_ns} {found.st_size} {found.st_ino} {found.st_mode:o}"
