"""Other repositories on this machine, by the URL or path of a remote."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from git_theta.errors import GitError
from git_theta.git import run

_ENDS = ("/.git", "", ".git/.git", ".git")  # in git's own order


class Elsewhere(NamedTuple):
    """A repository."""

    folder: Path
    """git's folder that all its work trees share."""
    git: str
    """The option with which git finds it."""

    def configured(self, variable: str) -> str:
        """The path that a variable of its configuration holds; nothing without it."""
        return run.text(self.git, "config", "--get", "--type=path", variable, ok=(0, 1))


def local_path(url: str) -> Path | None:
    """The path that a remote's URL is; None for what is on a server."""
    if url.startswith("file://"):
        return Path(unquote(urlsplit(url).path))
    return None if "://" in url or re.match(r"[^/]+:", url) else Path(url)


def open_repository(path: Path) -> Elsewhere:
    """The repository that git finds for a path that it is told to clone.

    Raises
    ------
    GitError
        When there is none.
    """
    for folder in (Path(f"{path}{end}") for end in _ENDS):
        if folder.is_file() or (folder / "HEAD").is_file():
            break
    else:
        raise GitError(f"There is no repository at {path}")
    git = f"--git-dir={folder}"
    common = run.text(git, "rev-parse", "--path-format=absolute", "--git-common-dir")
    return Elsewhere(Path(common), git)
