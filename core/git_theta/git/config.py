"""The filter driver in git's configuration: the ``[filter "theta"]`` section, written and removed.

Only this section is touched. The lines are the ones that git-theta has always written (``clean``,
``smudge``, ``required``), and ``process``, with which one process serves all files of a command.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from git_theta.errors import GitError
from git_theta.git import run

SECTION = "filter.theta"
"""The section of our filter driver, as ``git config`` spells it."""

_TRUE = frozenset({"true", "yes", "on", "1"})


class Scope(StrEnum):
    """Whose configuration: each is an option of ``git config``."""

    LOCAL = "local"
    """This repository."""
    WORKTREE = "worktree"
    """This work tree, where ``extensions.worktreeConfig`` is set; else as ``LOCAL``."""
    GLOBAL = "global"
    """This user."""
    SYSTEM = "system"
    """This machine."""


@dataclass(frozen=True, slots=True)
class Change:
    """One variable that :func:`install` wrote."""

    key: str
    """Name of the variable, ``filter.theta.clean``."""
    old: tuple[str, ...]
    """Its values before, none when it was not set."""
    new: str
    """Its value now."""


def driver(*, skip_smudge: bool = False) -> dict[str, str]:
    """The variables of the filter driver and their values.

    Parameters
    ----------
    skip_smudge
        Leave metadata in place of the files on checkout and clone.
    """
    skip = " --skip" if skip_smudge else ""
    return {
        f"{SECTION}.clean": "git-theta-filter clean %f",
        f"{SECTION}.smudge": f"git-theta-filter smudge{skip} %f",
        f"{SECTION}.process": f"git-theta-filter process{skip}",
        f"{SECTION}.required": "true",
    }


def entries(scope: Scope | None = None) -> dict[str, list[str]]:
    """All values of every variable in our section, as git reads them.

    Parameters
    ----------
    scope
        One file only; without it all that are in force here, the strongest value last.
    """
    where = [f"--{scope}"] if scope else []
    pattern = rf"^{SECTION.replace('.', chr(92) + '.')}\."
    found: dict[str, list[str]] = {}
    listed = run.run("config", *where, "-z", "--get-regexp", pattern, ok=(0, 1))
    for entry in os.fsdecode(listed).split("\0")[:-1]:
        key, line_break, value = entry.partition("\n")
        # A variable without "=" is git's short form of true.
        found.setdefault(key, []).append(value if line_break else "true")
    return found


def is_installed() -> bool:
    """Whether a filter driver is in force here, from whatever scope."""
    return bool(entries().get(f"{SECTION}.process"))


def install(scope: Scope, *, skip_smudge: bool = False, force: bool = False) -> list[Change]:
    """Write the filter driver; gives what had to be changed, nothing when all was there already.

    Raises
    ------
    GitError
        When a variable has a value that git-theta never wrote (and not ``force``), or git cannot
        write the file.
    """
    _refuse_special_file(scope)
    present = entries(scope)
    ours = [driver(skip_smudge=False), driver(skip_smudge=True)]
    foreign = [
        f"  {key} = {value}"
        for key, values in present.items()
        for value in values
        if key in ours[0] and not any(_same(key, value, lines[key]) for lines in ours)
    ]
    if foreign and not force:
        raise GitError(
            f"The {scope} configuration has other values for git-theta's filter:\n"
            + "\n".join(foreign),
            remedy=f"Overwrite them with: git theta install --{scope} --force",
        )
    changes = []
    for key, value in driver(skip_smudge=skip_smudge).items():
        old = present.get(key, [])
        if len(old) != 1 or not _same(key, old[0], value):
            _write(scope, "--replace-all", key, value)
            changes.append(Change(key, tuple(old), value))
    return changes


def uninstall(scope: Scope) -> bool:
    """Remove our section, whatever it holds; tells whether there was one.

    Raises
    ------
    GitError
        When git cannot write the file.
    """
    if not entries(scope):
        return False
    _refuse_special_file(scope)
    _write(scope, "--remove-section", SECTION)
    return True


def _write(scope: Scope, *args: str) -> None:
    try:
        run.run("config", f"--{scope}", *args)
    except GitError as error:
        other = "--local for this repository" if scope is Scope.GLOBAL else "--global for this user"
        remedy = f"Mend its permissions, or use another configuration: {other}"
        raise GitError(
            f"The {scope} configuration cannot be written: {error}", remedy=remedy
        ) from error


def _same(key: str, value: str, wanted: str) -> bool:
    if key == f"{SECTION}.required":
        return value.lower() in _TRUE
    return value == wanted


def _refuse_special_file(scope: Scope) -> None:
    # git replaces the file by renaming: run as root, it would turn /dev/null into a plain file.
    variable = {Scope.GLOBAL: "GIT_CONFIG_GLOBAL", Scope.SYSTEM: "GIT_CONFIG_SYSTEM"}.get(scope)
    path = os.environ.get(variable, "") if variable else ""
    if path and Path(path).exists() and not Path(path).is_file():
        raise GitError(
            f"{variable} names {path}, which is not a file that can be written to",
            remedy="Use git theta install --local, or unset it",
        )
