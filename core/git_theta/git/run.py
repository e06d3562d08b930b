"""Running git: one place that starts it, reads its answer and turns its refusal into an error.

What git says is read in the C locale, so that no message depends on the user's language. Paths
travel as ``str`` with surrogate escapes (:func:`os.fsdecode`) or as raw ``bytes``.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path

from git_theta.errors import GitError

LITERAL: Mapping[str, str] = {
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_GLOB_PATHSPECS": "0",
    "GIT_NOGLOB_PATHSPECS": "0",
    "GIT_ICASE_PATHSPECS": "0",
}
"""Variables with which git takes pathspecs for plain names, whatever the user has set."""

UNREPLACED: Mapping[str, str] = {"GIT_NO_REPLACE_OBJECTS": "1"}
"""A variable with which git reads what an id says, whatever ``git replace`` puts in its place."""


def run(
    *args: str | bytes,
    input: bytes | None = None,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    ok: Collection[int] = (0,),
) -> bytes:
    """Run ``git ARGS...`` and give back what it wrote to stdout.

    Parameters
    ----------
    args
        The arguments after ``git``.
    input
        Bytes for its stdin; without them stdin is empty.
    cwd
        Folder to run in; without it the current one. The repository is that of the current folder
        where variables name it, as in a hook.
    env
        Variables to set on top of this process's environment.
    ok
        The exit codes that are an answer and not a failure.

    Raises
    ------
    GitError
        When git cannot be started, or ends with another exit code; the message is git's own.
    """
    try:
        done = subprocess.run(
            ["git", *args],
            input=b"" if input is None else input,
            capture_output=True,
            cwd=cwd,
            env={**os.environ, **_located(cwd), **(env or {}), "LC_ALL": "C"},
        )
    except OSError as error:
        raise _not_started(error, cwd) from error
    if done.returncode not in ok:
        if done.stderr.startswith(b"fatal: not a git repository"):
            raise GitError(
                f"Expected a git repository at {os.fspath(cwd or Path.cwd())}, found none",
                remedy="Run it in a repository, or make one with: git init",
            )
        raise GitError(_refusal(args, done))
    return done.stdout


def text(
    *args: str | bytes,
    input: bytes | None = None,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    ok: Collection[int] = (0,),
) -> str:
    """Run git as :func:`run` does; its answer as text, without the last newline."""
    return os.fsdecode(run(*args, input=input, cwd=cwd, env=env, ok=ok)).removesuffix("\n")


def _located(cwd: str | os.PathLike[str] | None) -> dict[str, str]:
    """Where the repository lies, for a git that runs in another folder than we do.

    ``GIT_INDEX_FILE`` is left as it is: git takes it from the top of the work tree.
    """
    if cwd is None:
        return {}
    names = ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR")
    return {name: os.path.abspath(os.environ[name]) for name in names if os.environ.get(name)}


def _refusal(args: tuple[str | bytes, ...], done: subprocess.CompletedProcess[bytes]) -> str:
    command = " ".join(["git", *(os.fsdecode(arg) for arg in args[:3])])
    said = done.stderr.decode(errors="replace").strip().removeprefix("fatal: ")
    return f"{command} failed with exit code {done.returncode}" + (f": {said}" if said else "")


def _not_started(error: OSError, cwd: str | os.PathLike[str] | None) -> GitError:
    if cwd is not None and not Path(cwd).is_dir():
        return GitError(f"Expected a folder to run git in, found none at {os.fspath(cwd)!r}")
    if isinstance(error, FileNotFoundError):
        return GitError("Expected git on PATH, found none", remedy="Install git")
    return GitError(f"git cannot be started: {error}")
