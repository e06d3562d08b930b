"""From a file to metadata, what ``git add`` does: read top to bottom.

detect (format) -> scan (digest every buffer) -> store (what is lacking) -> metadata text. The
caller has ruled out files that git already has metadata for; see :mod:`git_theta.git.known`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from git_theta.checkpoint import Layout
from git_theta.errors import FormatMismatch, LimitExceeded, StoreError
from git_theta.formats.detect import UNKNOWN, Detected, Siblings, detect, no_siblings
from git_theta.metadata import MAX_BYTES, Head, Metadata, Skeleton, parse_head, print_metadata
from git_theta.places import find_places, pack_hints
from git_theta.plugins import KERNEL, Plugins
from git_theta.scanned import Scanned, scan
from git_theta.source import Source
from git_theta.storage.index import Location
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import BufferId
from git_theta.storage.unfolded import Unfolded, unfolded

if TYPE_CHECKING:
    from git_theta.updates.choose import Form


class Cleaned(NamedTuple):
    """What cleaning a file gave."""

    text: bytes
    """The metadata."""
    warning: str
    """What the user should know about the file; "" for nothing."""


class Cleaning(NamedTuple):
    """A file to clean, and for whom."""

    file: Source
    path: str
    """From the top of the work tree."""
    digest: bytes
    """The BLAKE3 of all its bytes."""
    store: LocalStore
    """Where its buffers go."""
    plugins: Plugins
    """What reads it."""
    versions: Sequence[bytes] = ()
    """Metadata that git has at this path, that of the last version first."""
    older: Callable[[], Iterable[bytes]] = tuple
    """Finds more metadata that the file may resemble, where those do not help."""
    siblings: Siblings = no_siblings
    """Finds the other files of the checkpoint."""
    write: bool = True
    """False: nothing is stored, as for a caller that only compares."""
    form: Form | None = None
    """How groups that the store lacks shall be stored; None: nobody said so."""
    advance: Callable[[int], None] = lambda _: None
    """Told how many bytes were worked on; a byte that is stored counts twice."""
    settled: Callable[[], None] = lambda: None
    """Called when the file is read no more, if something of it was stored."""
    reads_on: Callable[[], None] = lambda: None
    """Called when it is read after all, as unknown."""

    @property
    def previous(self) -> Head | None:
        """What begins the last version's metadata."""
        return parse_head(self.versions[0]) if self.versions else None


def clean(job: Cleaning) -> Cleaned:
    """Describe a file, and store what the store lacks of it.

    Raises
    ------
    MissingPluginError
        When a format that the last version names is not installed.
    MissingPackError
        When a sibling is needed that no store has.
    FileChangedError
        When the file is written to meanwhile.
    """
    _check_formats(job)
    detected = detect(job.file, job.path, job.plugins, job.siblings)
    try:
        with unfolded(job.file, detected.layout, job.store.folder / "tmp", job.advance) as opened:
            return _clean_as(detected, opened, job)
    except (FormatMismatch, LimitExceeded) as fault:
        # all of it stays closed, or is more than metadata can tell apart: unknown, not lost
        if detected.formats == (UNKNOWN,):
            raise
        job.reads_on()
        unknown = Detected((UNKNOWN,), Layout(), f"{job.path}: {fault}")
        return _clean_as(unknown, Unfolded(job.file, unknown.layout, {}, job.advance), job)


def _clean_as(detected: Detected, opened: Unfolded, job: Cleaning) -> Cleaned:
    """Clean a file by what a format found in it."""
    scanned = scan(opened)
    items = scanned.items
    places = find_places(job.store, [identity for _, identity in items])
    lost = [buffer for buffer in scanned.needed if buffer not in places]
    if lost and job.write:
        places |= _store(scanned, places, opened, job)
    stored = job.write or not lost  # who names packs has stored the file
    hints = pack_hints(items, places if stored else {}, job.store)
    for hint in hints if job.write else ():
        job.store.packs.freshen(hint.pack)
    metadata = Metadata(
        _formats(detected, job.plugins),
        job.digest,
        job.file.size,
        scanned.skeleton,
        scanned.described.groups,
        scanned.described.buffers,
        hints,
    )
    return Cleaned(_print(metadata), detected.warning)


def _store(
    scanned: Scanned, places: Mapping[BufferId, Location], opened: Unfolded, job: Cleaning
) -> dict[BufferId, Location]:
    """Store what the store lacks, all but what has places; where that lies now."""
    from git_theta.lacking import lacking, lineage_of  # numpy comes with them
    from git_theta.storage.buffers import store_buffers

    store, plugins = job.store, job.plugins
    lineage = lineage_of(scanned.described, job.versions, job.older, job.path, store, plugins)
    wanted = lacking(scanned, _patched(job.previous, scanned.skeleton), lineage, places, job.form)
    stored = store_buffers(store, plugins, wanted, opened.advance, job.settled)
    lost = [b for b in scanned.needed if b not in places and b not in stored]
    if lost:  # never let git have metadata of what is not stored, whatever went wrong
        raise StoreError(
            f"{job.path}: {len(lost)} of {len(scanned.needed)} buffers were not stored, "
            f"the first is {lost[0]}",
            remedy="This is a bug in git-theta; nothing was added",
        )
    return stored


def _print(metadata: Metadata) -> bytes:
    text = print_metadata(metadata)
    if len(text) > MAX_BYTES:
        raise LimitExceeded(f"Metadata of {len(text)} bytes, expected at most {MAX_BYTES}")
    return text


def _check_formats(job: Cleaning) -> None:
    """Refuse to take a checkpoint for an unknown file where its plugin is not installed."""
    previous = job.previous
    for name, distribution in previous.formats if previous else ():
        if name != UNKNOWN:
            job.plugins.format(name, distribution=distribution)


def _formats(detected: Detected, plugins: Plugins) -> tuple[tuple[str, str], ...]:
    if detected.formats == (UNKNOWN,):
        return ((UNKNOWN, KERNEL),)
    return tuple(
        (name, plugins.find("theta_checkpoint_formats", name).plugin.distribution)
        for name in detected.formats
    )


def _patched(previous: Head | None, skeleton: Skeleton) -> BufferId | None:
    """The last version's skeleton, if both are small enough for one to be told by the other."""
    if previous is None or previous.skeleton.cuts or skeleton.cuts:
        return None
    return BufferId("U8", previous.skeleton.digest)
