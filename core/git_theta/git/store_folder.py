"""Where a repository's local store lies, and who shares it.

Mostly in git's folder; ``theta.store`` in git's configuration may name another folder, which
several clones on a machine then share. The filter asks at every start, so git itself is only asked
where some configuration may say something.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from git_theta.errors import StoreError
from git_theta.git import run
from git_theta.storage.folder import PackFolder, sha256
from git_theta.storage.lock import USERS, FileLock

VARIABLE = "theta.store"
"""The variable of git's configuration."""

_USERS = "users"
_SAYS_SO = re.compile(rb"^[ \t]*\[[ \t]*theta[ \t]*\].*\bstore\b", re.I | re.M | re.S)
_ELSEWHERE = re.compile(rb"^[ \t]*\[[ \t]*include|\bworktreeconfig\b", re.I | re.M)


def store_folder(folder: Path) -> Path:
    """The folder of the local store of the repository whose git folder is ``folder``.

    Raises
    ------
    StoreError
        When the configuration names no absolute path.
    """
    if not any(
        _SAYS_SO.search(text) or _ELSEWHERE.search(text) for text in _configurations(folder)
    ):
        return folder / "theta"
    said = run.text("config", "--type=path", "--get", VARIABLE, ok=(0, 1))
    if not said:
        return folder / "theta"
    if not Path(said).is_absolute():
        raise StoreError(
            f"Expected an absolute path in {VARIABLE}, found {said!r}",
            remedy=f"Set it anew: git config {VARIABLE} /PATH, or git config --unset {VARIABLE}",
        )
    return Path(said)


def _configurations(folder: Path) -> Iterator[bytes]:
    """What may set variables here, as far as one can look at it without asking git."""
    env = os.environ
    home = Path(env.get("HOME") or os.path.expanduser("~"))
    xdg = Path(env.get("XDG_CONFIG_HOME") or home / ".config", "git", "config")
    user = env.get("GIT_CONFIG_GLOBAL")
    files = [folder / "config", *([Path(user)] if user else [home / ".gitconfig", xdg])]
    files.append(Path(env.get("GIT_CONFIG_SYSTEM") or "/etc/gitconfig"))
    for file in files:
        with contextlib.suppress(OSError):
            yield file.read_bytes()
    if "GIT_CONFIG_PARAMETERS" in env or "GIT_CONFIG_COUNT" in env:
        named = [env.get("GIT_CONFIG_PARAMETERS", "")]
        named += [value for name, value in env.items() if name.startswith("GIT_CONFIG_KEY_")]
        if any(VARIABLE in name.lower() for name in named):
            yield b"[theta]store"


def join(store: Path, packs: PackFolder, folder: Path) -> None:
    """Make a repository one of those that share a store; what it has of its own moves there.

    Raises
    ------
    StoreError
        When the store cannot be written to.
    """
    import hashlib  # seldom needed, and git waits for what is imported

    place = store / _USERS / hashlib.sha256(os.fsencode(folder)).hexdigest()[:32]
    own = PackFolder(folder / "theta" / "objects")
    try:
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            written = place.with_name(f"{place.name}.{os.getpid()}")
            written.write_bytes(os.fsencode(folder))
            written.replace(place)
        for pack in sorted(own.packs() - packs.packs()):
            with contextlib.suppress(OSError):  # another disk
                os.link(own.path(pack), packs.path(pack))
            packs.put({pack: own.path(pack)})
        lock = FileLock(folder / "theta" / USERS)
        if lock.alone():  # else somebody still reads them where they are
            for pack in own.packs() & packs.packs():
                if sha256(packs.path(pack)) == pack:
                    own.delete(pack)
        lock.close()
    except OSError as fault:
        raise StoreError(
            f"Cannot use the store {store} that {VARIABLE} names: {fault}",
            remedy="Mend its permissions, or choose another folder",
        ) from fault


def others(store: Path, folder: Path) -> list[str]:
    """Git folders of the other repositories that share a store, as far as they are known."""
    found: list[str] = []
    with contextlib.suppress(FileNotFoundError):
        for place in sorted((store / _USERS).iterdir()):
            name = os.fsdecode(place.read_bytes())
            if name and Path(name) != folder:
                found.append(name)
    if store.name == "theta" and (store.parent / "HEAD").is_file() and store.parent != folder:
        found.append(str(store.parent))  # another repository's own
    return found
