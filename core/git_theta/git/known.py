"""What git has already: the metadata of a file whose bytes did not change.

Giving back the very text keeps git quiet, with or without the plugins that once read the file. That
git has the text does not prove that the store has the weights: ``git add -p`` in a tool may have
staged what a mere ``git diff`` printed, or a pack was lost. Here both are found out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from git_theta.errors import MissingPackError, ThetaError
from git_theta.git.repository import Repository
from git_theta.metadata import parse, parse_head

_PACK = re.compile(rb"^pack ([0-9a-f]{64}) ", re.MULTILINE)


def find_known(versions: Iterable[bytes], digest: bytes, nbytes: int) -> bytes | None:
    """The first metadata that describes a file of this digest and length, its line ends LF."""
    for text in versions:
        head = parse_head(text)
        if head and (head.digest, head.nbytes) == (digest, nbytes):
            return text.replace(b"\r\n", b"\n")
    return None


def is_stored(repository: Repository, text: bytes, path: str) -> bool:
    """Whether the store can rebuild the file that metadata describes, as far as that is cheap.

    Mostly the packs that the metadata names are there, and the store need not be opened. Metadata
    that only served to compare names none.
    """
    objects = repository.folder / "theta" / "objects"
    packs = [name.decode() for name in _PACK.findall(text)]
    if packs and all((objects / pack).is_file() for pack in packs):
        return True
    from git_theta.plugins import installed
    from git_theta.smudge import rebuild

    try:
        rebuild(parse(text, path), path, store=repository.store, plugins=installed())
    except MissingPackError:
        return False
    except ThetaError:  # damaged, and for fsck to tell: what is there is not stored again
        return True
    return True
