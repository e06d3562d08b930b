"""Why files are stored as unknown: what the installed formats say of them, as ``git add`` did."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import islice

from git_theta.errors import FormatMismatch, LimitExceeded, MissingPackError, ThetaError
from git_theta.formats.detect import UNKNOWN, detect
from git_theta.git.repository import Repository
from git_theta.joined import Joined
from git_theta.metadata import HEAD_BYTES, MAX_BYTES, Metadata, looks_like_metadata, parse
from git_theta.plugins import installed
from git_theta.smudge import rebuild
from git_theta.source import BytesSource, Source
from git_theta.storage.unfolded import unfolded

MOST = 50
"""Files that are looked at: each is read again as far as formats ask for it."""


def tell_unknown(
    repository: Repository, revision: str, files: Mapping[str, Metadata]
) -> dict[str, str]:
    """Why no format could read some files, by path.

    Parameters
    ----------
    repository
        Where they and those beside them are read.
    revision
        The commit or tree that has them; "" for the index.
    files
        Their metadata by path from the top.
    """
    looked = islice(files.items(), MOST)
    return {path: _tell(repository, revision, path, metadata) for path, metadata in looked}


def _tell(repository: Repository, revision: str, path: str, metadata: Metadata) -> str:
    try:
        file = _open(repository, path, metadata)
        detected = detect(file, path, installed(), partial(_open_beside, repository, revision))
        store = repository.store
        with unfolded(file, detected.layout, store.folder / "tmp", begin=store.after_fork):
            pass
    except (FormatMismatch, LimitExceeded) as fault:
        return f"{path}: {fault}"
    except MissingPackError:
        return f"{path}: what it holds is not here\nRun git theta fetch, then look again"
    except ThetaError as fault:
        return str(fault)
    if detected.formats != (UNKNOWN,):
        return f"{path}: {detected.formats[0]} can read it now, and could not when it was added"
    return detected.warning or f"{path}: no installed format knows what it is"


def _open_beside(repository: Repository, revision: str, path: str) -> Source | None:
    """A file of the same version, as it was saved; None where there is none."""
    found = repository.objects([f"{revision}:{path}"])[0]
    if not found or found[1] != "blob" or found[2] > MAX_BYTES:
        return None
    text = repository.blob(found[0])
    if not looks_like_metadata(text[:HEAD_BYTES]):
        return BytesSource(text)
    return _open(repository, path, parse(text.replace(b"\r\n", b"\n"), path))


def _open(repository: Repository, path: str, metadata: Metadata) -> Source:
    """A stored file, of which only what is read gets decoded."""
    rebuilt = rebuild(metadata, path, store=repository.store, plugins=installed())
    return Joined(rebuilt.pieces)
