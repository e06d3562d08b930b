"""The local store of a remote that is a repository on this machine: after ``git clone ../model``.

It has what was never pushed anywhere. It is only read, and what it gives is verified like any pack.
"""

from __future__ import annotations

from git_theta.git import run
from git_theta.git.elsewhere import local_path, open_repository
from git_theta.git.store_folder import VARIABLE


def neighbour(remote: str) -> str:
    """The URL of the local store of a git remote's repository; nothing where that is elsewhere.

    Raises
    ------
    GitError
        When there is no repository.
    """
    path = local_path(run.text("remote", "get-url", "--", remote))
    if not path or not path.is_absolute():
        return ""
    there = open_repository(path)
    packs = there.folder.joinpath(there.configured(VARIABLE) or "theta", "objects")
    return packs.as_uri() if packs.is_dir() else ""
