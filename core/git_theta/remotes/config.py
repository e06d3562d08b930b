"""Where the packs of a git remote lie: read from the user's git configuration, and set there.

``remote.NAME.thetaStore`` is the URL of the store, or the absolute path of a folder. Without it a
remote's packs lie on its Git LFS server, ``lfs://NAME``. A tracked file ``.gittheta`` may suggest
another store for whoever clones; until the user accepted it, or chose another one, nothing is sent
or asked anywhere.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from git_theta.errors import GitError, StoreError
from git_theta.git import run
from git_theta.remotes.trust import accepted, printable

if TYPE_CHECKING:
    from git_theta.storage.interface import Store, StoreType

VARIABLE = "thetaStore"
"""The variable of a remote's section."""

SUGGESTIONS = ".gittheta"
"""The tracked file that may suggest a store, in the syntax of git's configuration."""

SUGGESTION = "theta.store"
"""The variable in it."""

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_MAX_BYTES = 2**16


class Chosen(NamedTuple):
    """The store of a remote."""

    remote: str
    """Name of the git remote."""
    url: str
    """URL of the store."""
    by: str
    """Who chose it: ``config``, ``suggestion`` (accepted) or ``default``."""


def remotes() -> list[str]:
    """Names of the git remotes."""
    return run.text("remote").splitlines()


def check_remote(remote: str) -> str:
    """The name of a git remote, if it is one.

    Raises
    ------
    GitError
        When it is not.
    """
    names = remotes()
    if remote not in names:
        raise GitError(
            f"Expected the name of a git remote, found {printable(remote)!r}",
            remedy=f"There are: {', '.join(names)}"
            if names
            else f"git remote add {shlex.quote(printable(remote))} URL makes it",
        )
    return remote


def named(remote: str) -> str:
    """The name of the remote that git was given by its URL; what was given where none has it."""
    for line in [] if remote in remotes() else run.text("remote", "--verbose").splitlines():
        name, _, url = line.partition("\t")
        if url == f"{remote} (push)":
            return name
    return remote


def configured() -> dict[str, str]:
    """The stores that the configuration names, by remote, as they stand there."""
    pattern = rf"^remote\..*\.{VARIABLE.lower()}$"
    listed = os.fsdecode(run.run("config", "-z", "--get-regexp", pattern, ok=(0, 1)))
    entries = (entry.partition("\n") for entry in listed.split("\0")[:-1])
    return {key[len("remote.") : -len(VARIABLE) - 1]: value for key, _, value in entries}


def choose(remote: str) -> Chosen:
    """The store of a git remote (or of a URL that git was given in place of one).

    Raises
    ------
    StoreError
        When a tracked file suggests a store and the user neither accepted it nor chose another, or
        when the configuration has no URL.
    """
    value = configured().get(remote)
    if value is not None:
        return Chosen(remote, to_url(value), "config")
    suggested = suggestion()
    if not suggested:
        return Chosen(remote, default(remote), "default")
    if suggested in accepted():
        return Chosen(remote, to_url(suggested), "suggestion")
    name = shlex.quote(remote)
    raise StoreError(
        f"{SUGGESTIONS} suggests a store for the remote {printable(remote)}: "
        f"{printable(suggested)}\nA tracked file only suggests it, and it was not accepted",
        remedy=f"If you trust it: git theta remote accept {shlex.quote(printable(suggested))}\n"
        f"For the remote's Git LFS server instead: git theta remote add {name} {default(name)}",
    )


def store_url(remote: str) -> str:
    """The URL of a remote's store; errors as in :func:`choose`."""
    return choose(remote).url


def open_store(remote: str) -> Store:
    """Open the store of a remote; errors as in :func:`choose`.

    Raises
    ------
    MissingPluginError
        When no installed plugin offers stores of its scheme.
    StoreError
        When nothing answers there.
    """
    return open_url(store_url(remote))


def open_url(url: str) -> Store:
    """Open a store by its URL; errors as in :func:`open_store`."""
    return _store_type(url).open(url)


def identity(remote: str) -> str:
    """:func:`identity_of` the store of a remote; errors as in :func:`choose`."""
    return identity_of(choose(remote))


def identity_of(chosen: Chosen) -> str:
    """What the packs that a store acknowledged are recorded under.

    The URL, and of a store that is found through a git remote what that remote points to: so the
    record of one server is not taken for another's.
    """
    if not chosen.url.startswith("lfs://"):
        return chosen.url
    name = re.escape(chosen.url.removeprefix("lfs://"))
    pattern = rf"^(remote\.{name}\.(url|pushurl|lfsurl|lfspushurl)|lfs\.(url|pushurl)|url\..*)$"
    said = os.fsdecode(run.run("config", "-z", "--get-regexp", pattern, ok=(0, 1)))
    return f"{chosen.url}\n{said}{_tracked('.lfsconfig', 'lfs.url')}"


def default(remote: str) -> str:
    """The store of a remote that has none of its own: its Git LFS server."""
    return f"lfs://{remote}"


def suggestion() -> str:
    """The store that the tracked file suggests here; nothing when there is no such file."""
    return _tracked(SUGGESTIONS, SUGGESTION)


def set_store(remote: str, location: str) -> str:
    """Set the store of a remote, for this repository; gives its URL.

    Parameters
    ----------
    remote
        Name of a git remote.
    location
        A URL, or the path of a folder, from the current one.

    Raises
    ------
    StoreError
        When it is no URL of a store that an installed plugin opens.
    GitError
        When there is no such remote, or git cannot write its configuration.
    """
    check_remote(remote)
    url = to_url(location, Path.cwd())
    _store_type(url)
    run.run("config", "--local", "--replace-all", f"remote.{remote}.{VARIABLE}", url)
    return url


def unset_store(remote: str) -> bool:
    """Forget the store of a remote; tells whether this repository had one for it."""
    key = f"remote.{remote}.{VARIABLE}"
    if not run.run("config", "--local", "--get-all", key, ok=(0, 1)):
        return False
    run.run("config", "--local", "--unset-all", key)
    return True


def to_url(location: str, folder: Path | None = None) -> str:
    """The URL of a store, from a URL or the path of a folder.

    Parameters
    ----------
    location
        What a user wrote.
    folder
        From where a path that is not absolute counts; without it such a path is refused.

    Raises
    ------
    StoreError
        When it is neither.
    """
    if not location or any(character in location for character in "\0\r\n"):
        raise StoreError(f"Expected the URL of a store or a path, found {location!r}")
    if location.lower().startswith("lfs://-"):  # git would take it for an option
        raise StoreError(f"Expected the name of a git remote, found {printable(location)}")
    if _SCHEME.match(location):
        return location
    path = Path(location).expanduser()
    if folder is None and not path.is_absolute():
        raise StoreError(
            f"Expected the URL of a store or an absolute path, found {printable(location)}",
            remedy="Set it anew: git theta remote add REMOTE URL",
        )
    return Path(os.path.normpath((folder or Path()) / path)).as_uri()


def _store_type(url: str) -> StoreType:
    from git_theta.storage.builtin import theta_stores

    scheme = url.partition("://")[0].lower()
    for builtin in theta_stores():  # these win anyway, and all plugins take time to import
        if builtin.scheme == scheme:
            return builtin
    from git_theta.plugins import installed

    return installed().store_type(scheme)


def _tracked(name: str, variable: str) -> str:
    """A variable of a tracked file: from the work tree, else the index, else HEAD."""
    top = run.text("rev-parse", "--show-toplevel", ok=(0, 128))
    file = Path(top, name) if top else None
    if file and file.is_file() and not file.is_symlink() and file.stat().st_size <= _MAX_BYTES:
        sources = [("--file", str(file))]
    else:
        asked = f":{name}\nHEAD:{name}\n".encode()
        found = run.text("cat-file", "--batch-check", input=asked).splitlines()
        blobs = [line.split()[0] for line in found if line.split()[1:2] == ["blob"]]
        sources = [("--blob", blob) for blob in blobs]
    for option, source in sources:
        try:
            value = run.run("config", option, source, "-z", "--get", variable)
        except GitError:  # no such variable there, or no valid file
            continue
        return os.fsdecode(value).removesuffix("\0")
    return ""
