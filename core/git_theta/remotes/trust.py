"""What a tracked file only suggests: a place to send weights to, which the user accepts once.

A tracked file comes with a clone, from whoever wrote it. So nothing is sent to or asked from a host
that only such a file names before the user said so; the answer is kept in the repository's own git
configuration, under the exact URL.
"""

from __future__ import annotations

import os
import shlex

from git_theta.errors import StoreError
from git_theta.git import run

KEY = "theta.accepted"
"""The variable, with a value for every URL that was accepted."""


def accepted() -> set[str]:
    """The URLs that the user has accepted in this repository."""
    return set(os.fsdecode(run.run("config", "-z", "--get-all", KEY, ok=(0, 1))).split("\0")[:-1])


def accept(url: str) -> bool:
    """Accept a URL, for this repository; tells whether that is news.

    Raises
    ------
    GitError
        When git cannot write its configuration.
    """
    if url in accepted():
        return False
    run.run("config", "--local", "--add", KEY, url)
    return True


def require_accepted(what: str, url: str, *, otherwise: str = "") -> None:
    """Refuse a URL that a tracked file names and that nobody has accepted here.

    Parameters
    ----------
    what
        Who names it and as what: ``.lfsconfig names another host than the remote's for its LFS
        server``.
    url
        The URL, as it stands there.
    otherwise
        What else one may do, on a line of its own.

    Raises
    ------
    StoreError
        Telling the command that accepts it.
    """
    if url not in accepted():
        raise StoreError(
            f"{what}: {printable(url)}\nA tracked file only suggests it, and it was not accepted",
            remedy=f"If you trust it: git theta remote accept {shlex.quote(printable(url))}"
            + (otherwise and f"\n{otherwise}"),
        )


def printable(url: str) -> str:
    """A URL from somebody else's file as text that a terminal shows as it is."""
    return url if url.isprintable() else ascii(url)
