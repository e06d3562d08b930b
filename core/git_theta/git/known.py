"""What git has already: the metadata of a file whose bytes did not change.

Giving back the very text keeps git quiet, with or without the plugins that once read the file. That
git has a text with the file's digest proves neither that the text is true (a merge may have mixed
its other lines) nor that the store has the weights (a diff may have been applied to the index, or a
pack was lost). A text is rebuilt once to see that it is true; after that it costs a look at names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from pathlib import Path

from git_theta.errors import MissingPackError, MissingPluginError, StoreError, ThetaError
from git_theta.git.repository import Repository, Version
from git_theta.metadata import parse, parse_head

_PACK = re.compile(rb"^pack ([0-9a-f]{64}) ([0-9]{1,15}) ", re.MULTILINE)


class State(Enum):
    """What can be said of a text that names the right digest."""

    SOUND = "sound"
    """It is true and stored; or what would tell is out of reach, and the text is believed."""
    LOST = "lost"
    """The store lacks something of it."""
    WRONG = "wrong"
    """It makes another file, or none: the text or a pack is damaged."""


def find_known(versions: Iterable[Version], digest: bytes, nbytes: int) -> list[Version]:
    """The versions that name a file of this digest and length."""
    found = ((version, parse_head(version.text)) for version in versions)
    return [
        version
        for version, head in found
        if head and (head.digest, head.nbytes) == (digest, nbytes)
    ]


def examine(repository: Repository, text: bytes, path: str) -> State:
    """Whether metadata can be given to git again.

    Mostly it was proven before, the packs that it names are there, and the store need not be
    opened. Otherwise the file is rebuilt, and the text remembered as proven if that worked.
    """
    if text in repository.proven and _has_packs(repository, text):
        return State.SOUND
    try:
        _prove(repository, text, path)
    except MissingPackError:
        return State.LOST
    except (MissingPluginError, StoreError):
        return State.SOUND
    except ThetaError:
        return State.WRONG
    return State.SOUND


def same_description(one: bytes, other: bytes) -> bool:
    """Whether two texts differ in their hints alone, which say where buffers lay at the time."""
    return _description(one) == _description(other)


def _description(text: bytes) -> bytes:
    return text.partition(b"\npack ")[0].rstrip(b"\n")  # a name has no line end, and packs are last


def _has_packs(repository: Repository, text: bytes) -> bool:
    """Whether all packs that metadata names are there; some that served to compare names none."""
    objects = repository.store_folder / "objects"
    packs = _packs(text)
    return bool(packs) and all(_is_whole(objects / pack, nbytes) for pack, nbytes in packs.items())


def _packs(text: bytes) -> dict[str, int]:
    """The packs that metadata names, with their lengths in bytes."""
    return {name.decode(): int(nbytes) for name, nbytes in _PACK.findall(text)}


def _is_whole(path: Path, nbytes: int) -> bool:
    """Whether a pack is there, as long as it was: after a power cut it may be shorter."""
    try:
        return path.stat().st_size == nbytes
    except OSError:
        return False


def lies_with_remotes(repository: Repository, text: bytes) -> bool:
    """Whether all packs that metadata names are here or with a remote, by what that last said."""
    from git_theta.remotes.mend import recorded

    objects = repository.store_folder / "objects"
    absent = {pack for pack in _packs(text) if not (objects / pack).is_file()}
    return bool(absent) and absent <= recorded(repository)


def _prove(repository: Repository, text: bytes, path: str) -> None:
    from git_theta.plugins import installed
    from git_theta.progress import progress
    from git_theta.smudge import content, rebuild

    metadata = parse(text, path)
    rebuilt = rebuild(metadata, path, store=repository.store, plugins=installed())
    if text in repository.proven:
        return
    with progress(f"Checking {path}", metadata.nbytes) as advance:
        for _ in content(rebuilt, advance):
            pass
    repository.proven.add(text)
