"""Who asked for a filter: a git command that only ever reads needs nothing stored.

The filter is git's child, perhaps with a shell between. Where the parent cannot be told (only
/proc has command lines with their words apart), or is not known to only read, the answer is the
safe one: it writes.
"""

from __future__ import annotations

import os

from git_theta.errors import GitError

READERS = frozenset(
    [
        *("blame", "cherry", "describe", "diff", "diff-files", "diff-index", "diff-tree"),
        *("format-patch", "grep", "log", "ls-files", "range-diff", "rev-list", "shortlog"),
        *("show", "status", "whatchanged"),
    ]
)
"""git commands that never put anything into the index or into an object that stays."""

WRITERS = frozenset(
    [
        *("add", "am", "checkout", "cherry-pick", "clone", "commit", "merge", "pull", "rebase"),
        *("reset", "restore", "revert", "stash", "switch"),
    ]
)
"""The commonest of the others. git ignores an alias of a command's name, so none is looked up."""

PATCHERS = frozenset(["am", "apply"])
"""git commands that put lines of metadata together, some of which a user may have left out.

The file that they change is gone before they ask for the new one."""

_SHELL = "!"
"""An alias that runs a shell; the commands in it speak for themselves."""

_PROC = "/proc"

_GENERATIONS = 8
"""How many parents are looked at."""

_WITH_VALUE = frozenset(
    ["-C", "-c", "--git-dir", "--work-tree", "--namespace", "--config-env", "--exec-path"]
)


def only_reads() -> bool:
    """Whether the git commands that started this process are known to only read.

    All of a chain must be: what ``git diff-files`` prints for ``git add -p`` ends up in the index.
    """
    asked = ""
    parent, words = _process(os.getppid())
    for _ in range(_GENERATIONS):
        if words and _is_git(words):
            command = _command(words[1:])
            if command == "status" and not asked:
                return True  # prints no content, whoever wants to know
            if command not in (*READERS, _SHELL):
                return False
            asked = asked or command
        elif asked:
            break
        if parent <= 1:
            break
        parent, words = _process(parent)
    return asked in READERS


def typed_command() -> str:
    """The command of the git that started this process, as it was typed: perhaps an alias."""
    parent, words = _process(os.getppid())
    if words and not _is_git(words):  # the shell that git starts a filter with
        parent, words = _process(parent)
    return _typed(words[1:])[0] if words and _is_git(words) else ""


def _is_git(words: list[str]) -> bool:
    return os.path.basename(words[0]) in ("git", "git.exe")


def _typed(words: list[str]) -> list[str]:
    """A git command line from the command on; nothing but "" where there is none."""
    words = list(words)
    while words and words[0].startswith("-"):
        words = words[2:] if words[0] in _WITH_VALUE else words[1:]
    return words or [""]


def _command(words: list[str]) -> str:
    """The command of a git command line, looked up where it is an alias."""
    words = _typed(words)
    if not words[0] or words[0] in READERS or words[0] in WRITERS:
        return words[0]
    from git_theta.git import run  # seldom needed, and git waits for what is imported

    try:
        alias = run.text("config", "--get", f"alias.{words[0]}", ok=(0, 1))
    except GitError:
        return ""
    if alias.startswith("!"):
        return _SHELL
    return alias.split()[0] if alias.split() else words[0]


def _process(pid: int) -> tuple[int, list[str]]:
    """The parent of a process, and its command line; 0 and nothing where they cannot be told."""
    try:
        with open(f"{_PROC}/{pid}/cmdline", "rb") as file:
            words = file.read().rstrip(b"\0").split(b"\0")
        with open(f"{_PROC}/{pid}/stat", "rb") as file:
            stat = file.read()
        return int(stat.rpartition(b")")[2].split()[1]), [os.fsdecode(word) for word in words]
    except (OSError, ValueError, IndexError):
        return 0, []
