"""Which packs commits need: what the hints of all metadata name that their trees reach.

Hints name every pack that was read to rebuild a file when it was added, bases included. Repacking
may have replaced those packs since; :func:`fresh_hints` tells then where the local store has all of
it now.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple

from git_theta.errors import GitError
from git_theta.git import run
from git_theta.git.repository import Repository
from git_theta.metadata import FIRST_LINE, MAX_BYTES, PackHint, looks_like_metadata, parse

_HINT = re.compile(rb"^pack ([0-9a-f]{64}) (0|[1-9][0-9]{0,18}) [0-9]", re.MULTILINE)


class Need(NamedTuple):
    """What one version of a file needs."""

    path: str
    """A path at which a commit has it; the first that git tells."""
    blob: str
    """Id of the metadata's blob."""
    packs: dict[str, int]
    """Names and bytes of the packs that its hints name; may be empty, or out of date."""


def needs_of(repository: Repository, *revisions: str) -> Iterator[Need]:
    """The needs of all metadata that commits reach, each blob once; in bounded memory.

    Parameters
    ----------
    repository
        Where blobs are read.
    revisions
        What ``git rev-list`` takes: ``main``, ``--all``, ``main --not --remotes=origin``. Blobs
        that a partial clone did not fetch are left out.

    Raises
    ------
    GitError
        When git cannot walk there.
    """
    for oid, path in reached_blobs(*revisions):
        text = repository.blob(oid)
        if looks_like_metadata(text):
            yield Need(path, oid, hinted_packs(text))


def hinted_packs(text: bytes) -> dict[str, int]:
    """Names and bytes of the packs in ``pack`` lines; the rest of the text is not looked at."""
    return {name.decode(): int(nbytes) for name, nbytes in _HINT.findall(text)}


def fresh_hints(repository: Repository, text: bytes, path: str) -> tuple[PackHint, ...]:
    """The hints that metadata would have if its file were added now, from the local store.

    Parameters
    ----------
    repository
        Whose store has the file.
    text
        Its metadata, LF line ends.
    path
        What to call it in messages.

    Raises
    ------
    MetadataError
        When the text is not valid.
    MissingPackError
        When the store lacks something of it.
    PackError
        When one of the packs is damaged.
    """
    from git_theta.contents import read_contents
    from git_theta.items import missing
    from git_theta.places import find_places, pack_hints
    from git_theta.plugins import installed

    metadata, store = parse(text, path), repository.store
    items = read_contents(metadata, path, store=store, plugins=installed())
    places = find_places(store, [item.buffer for item in items])
    lost = dict.fromkeys(item.number for item in items if item.buffer not in places)
    if lost:
        raise missing(metadata, path, store, list(lost))
    return pack_hints([(item.number, item.buffer) for item in items], places, store)


def reached_blobs(*revisions: str) -> Iterator[tuple[str, str]]:
    """Blobs that may be metadata by their size: id, a path at which a commit has it.

    As git itself sends them: ``git replace`` hides none.

    Raises
    ------
    GitError
        When git cannot walk there.
    """
    options = ("--objects", "--filter=object:type=blob", "--missing=allow-promisor")
    form = "%(objectname) %(objecttype) %(objectsize) %(rest)"
    with (
        _git("rev-list", *options, *revisions, stdin=subprocess.DEVNULL) as listed,
        _git("cat-file", "--buffer", f"--batch-check={form}", stdin=listed) as described,
    ):
        listed.close()  # so that the first ends when the second does
        for line in described:
            oid, kind, nbytes, path = line.removesuffix(b"\n").split(b" ", 3)
            if kind == b"blob" and len(FIRST_LINE) < int(nbytes) <= MAX_BYTES:
                yield oid.decode(), os.fsdecode(path)


@contextmanager
def _git(*args: str, stdin: int | IO[bytes]) -> Iterator[IO[bytes]]:
    """What a git writes while it runs; its refusal is an error at the end."""
    import tempfile

    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            ["git", *args],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=said,
            env=os.environ | run.UNREPLACED | {"LC_ALL": "C"},
        )
        assert process.stdout
        finished = False
        try:
            yield process.stdout
            finished = True
        finally:
            process.stdout.close()
            code = process.wait()
        if finished and code:
            said.seek(0)
            message = said.read().decode(errors="replace").strip().removeprefix("fatal: ")
            raise GitError(f"git {args[0]} failed with exit code {code}: {message}")


def total(needs: Iterable[Need]) -> dict[str, int]:
    """All packs of several needs, in the order in which they were named first."""
    packs: dict[str, int] = {}
    for need in needs:
        for pack, nbytes in need.packs.items():
            packs.setdefault(pack, nbytes)
    return packs
