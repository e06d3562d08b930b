"""Where git-lfs keeps the objects of a git remote, and who says so.

git-lfs resolves the endpoint by itself; this module only has to know two things before: whether it
is a repository on a disk of this machine, which needs no server, and whether a tracked
``.lfsconfig`` sends weights to another host than the remote's, which the user has to accept.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from git_theta.errors import GitError, StoreError
from git_theta.git import run
from git_theta.git.elsewhere import local_path
from git_theta.remotes.trust import require_accepted
from git_theta.storage.interface import Store

_TRACKED = ".lfsconfig"
_MAX_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What there is to know about the objects of a git remote."""

    remote: str
    """Name of the remote, or a URL."""
    url: str
    """Where its objects are fetched from, as far as the configuration says: its own URL mostly."""
    folder: Path
    """git's folder that all work trees share, of the repository here."""
    objects: Path
    """git's folder of objects here."""
    has_agent: bool
    """Whether a transfer agent stands alone: git-lfs asks no server then."""

    @property
    def repository(self) -> Path | None:
        """The repository on this machine that has the objects, if it is one."""
        return None if self.has_agent else local_path(self.url)

    def open(self) -> Store:
        """The store: a folder beside the objects of a repository, or what answers for git-lfs."""
        if self.repository:
            from git_theta.storage.lfs.folder import open_folder

            return open_folder(self.repository)
        from git_theta.storage.lfs.store import LfsStore

        return LfsStore(self)


def find_endpoint(remote: str) -> Endpoint:
    """The endpoint of a git remote of the repository that git finds here.

    Raises
    ------
    StoreError
        When there is no repository here or no such remote, or when a tracked file names another
        host than the remote's and the user has not accepted it.
    """
    try:
        folder, objects = run.text("rev-parse", "--git-common-dir", "--git-path", "objects").split(
            "\n"
        )
    except GitError as fault:
        raise StoreError(f"Expected a git repository for lfs://{remote}: {fault}") from fault
    url = _remote_url(remote)
    ours, tracked = _configured(), _tracked()
    names = ["lfs.url", "lfs.pushurl", f"remote.{remote}.lfsurl", f"remote.{remote}.lfspushurl"]
    for name in names:
        if name in tracked and name not in ours and _host(tracked[name]) != _host(url):
            what = f"{_TRACKED} names another host than the remote {remote}'s for its LFS server"
            otherwise = f"For another server instead: git config {shlex.quote(name)} URL"
            require_accepted(what, tracked[name], otherwise=otherwise)
    said = {**tracked, **ours}
    found = said.get("lfs.url") or said.get(f"remote.{remote}.lfsurl") or _absolute(url)
    return Endpoint(
        remote,
        found,
        Path(folder).absolute(),
        Path(objects).absolute(),
        any(name.startswith("lfs.") and name.endswith("standalonetransferagent") for name in ours),
    )


def _remote_url(remote: str) -> str:
    try:
        return run.text("remote", "get-url", "--", remote)
    except GitError as fault:
        if re.search(r"[:/]", remote):
            return remote
        raise StoreError(
            f"There is no git remote {remote!r}",
            remedy=f"git remote -v lists them; git remote add {remote} URL makes it",
        ) from fault


def _absolute(url: str) -> str:
    """A remote's URL; the path of a repository counts from the top, wherever one stands in it."""
    if re.match(r"[^/]+:", url) or Path(url).is_absolute():
        return url
    top = run.text("rev-parse", "--show-toplevel", ok=(0, 128))
    top = top or run.text("rev-parse", "--absolute-git-dir")
    return os.path.normpath(Path(top, url))


def _configured() -> dict[str, str]:
    """What the user's configuration says about endpoints; names as git prints them."""
    pattern = r"^(lfs\.(push)?url|remote\..*\.lfs(push)?url|lfs\.(.*\.)?standalonetransferagent)$"
    return _parse(run.run("config", "-z", "--get-regexp", pattern, ok=(0, 1)))


def _tracked() -> dict[str, str]:
    """What a tracked file says, found where git-lfs finds it: work tree, else index, else HEAD."""
    pattern = r"^(lfs\.(push)?url|remote\..*\.lfs(push)?url)$"
    top = run.text("rev-parse", "--show-toplevel", ok=(0, 128))
    sources = [("--blob", f":{_TRACKED}"), ("--blob", f"HEAD:{_TRACKED}")]
    file = Path(top, _TRACKED)
    if top and file.is_file():
        sources = [("--file", str(file))]
        if file.stat().st_size > _MAX_BYTES:
            raise StoreError(f"Expected at most {_MAX_BYTES} bytes in {file}")
    for option, source in sources:
        try:
            return _parse(
                run.run("config", option, source, "-z", "--get-regexp", pattern, ok=(0, 1))
            )
        except GitError:  # no such file there
            continue
    return {}


def _parse(listed: bytes) -> dict[str, str]:
    entries = (entry.partition("\n") for entry in os.fsdecode(listed).split("\0")[:-1])
    return {name: value for name, _, value in entries}


def _host(url: str) -> str:
    """The host of a URL, or of ``user@host:path``; nothing for a path."""
    if "://" in url:
        return (urlsplit(url).hostname or "").lower()
    found = re.match(r"(?:[^/@]*@)?([^/:]+):", url)
    return found[1].lower() if found else ""
