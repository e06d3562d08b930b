"""Who may read and write what lies in git's folder: as ``core.sharedRepository`` has it.

git gives what it writes there the rights that the variable names. Everything of ours is made with
the rights that the process's umask leaves, so that is relaxed; files of the work tree stay with the
umask that the user has.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path

from git_theta.git import run

_NOT_SHARED = frozenset({"", "umask", "false", "no", "off", "0"})
_EXPLICIT = 0o600
"""What a number that names rights has in any case (git-config(1))."""
_NAMED = {"all": 0o664, "world": 0o664, "everybody": 0o664, "2": 0o664}
_GROUP = 0o660

_users: list[int] = []


def users_umask() -> int:
    """The umask of the caller of this process, for files that are the user's own."""
    return _users[0] if _users else umask()


def umask() -> int:
    """The umask of this process, for what is git's."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def share(folder: Path) -> None:
    """Let others at what is written from now on, if the repository is shared.

    git marks the folders of a shared repository for their group, so only there it is asked.

    Parameters
    ----------
    folder
        git's own folder.
    """
    mode = 0
    with suppress(OSError):
        mode = (folder / "objects").stat().st_mode
    if _users or not mode & stat.S_ISGID:
        return
    said = run.text("config", "--get", "core.sharedRepository", ok=(0, 1)).lower()
    if said in _NOT_SHARED:
        return
    rights = _NAMED.get(said, _GROUP)
    if re.fullmatch("[0-7]+", said) and int(said, 8) & _EXPLICIT == _EXPLICIT:
        rights = int(said, 8)
    _users.append(umask())
    readable = rights | (rights & 0o444) >> 2  # who may read a file may enter a folder
    os.umask(_users[0] & ~readable)
