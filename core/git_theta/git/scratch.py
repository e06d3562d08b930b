"""Where a file of the work tree is written before it gets its name."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from git_theta.git.repository import Repository


def scratch_folder(repository: Repository, target: Path) -> Path | None:
    """A folder of git's on the disk of ``target``: git add . does not take what was left there.

    None when there is none that can be written to.
    """
    folder = repository.folder / "theta" / "tmp"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if folder.stat().st_dev == target.stat().st_dev and os.access(folder, os.W_OK):
            return folder
    return None
