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


def clean(
    file: Source,
    path: str,
    digest: bytes,
    *,
    store: LocalStore,
    plugins: Plugins,
    versions: Sequence[bytes] = (),
    older: Callable[[], Iterable[bytes]] = tuple,
    siblings: Siblings = no_siblings,
    write: bool = True,
    form: Form | None = None,
    advance: Callable[[int], None] = lambda _: None,
    settled: Callable[[], None] = lambda: None,
    reads_on: Callable[[], None] = lambda: None,
) -> Cleaned:
    """Describe a file, and store what the store lacks of it.

    Parameters
    ----------
    file, path, digest
        The file, its path from the top of the work tree, the BLAKE3 of all its bytes.
    store, plugins
        Where its buffers go; what reads it.
    versions
        Metadata that git has at this path, that of the last version first.
    older
        Finds more metadata that the file may resemble, where those do not help.
    siblings
        Finds the other files of the checkpoint.
    write
        False: nothing is stored, as for a caller that only compares.
    form
        How groups that the store lacks shall be stored; None: nobody said so.
    advance
        Told how many bytes were worked on; a byte that is stored counts twice.
    settled, reads_on
        Called when the file is read no more, if something of it was stored; and when it is read
        after all, as unknown.

    Raises
    ------
    MissingPluginError
        When a format that the last version names is not installed.
    MissingPackError
        When a sibling is needed that no store has.
    FileChangedError
        When the file is written to meanwhile.
    """
    previous = parse_head(versions[0]) if versions else None
    _check_formats(previous, plugins)
    detected = detect(file, path, plugins, siblings)

    def clean_as(detected: Detected, opened: Unfolded) -> Cleaned:
        scanned = scan(opened)
        items = scanned.items
        places = find_places(store, [identity for _, identity in items])
        lost = [buffer for buffer in scanned.needed if buffer not in places]
        if lost and write:
            from git_theta.lacking import lacking, lineage_of  # numpy comes with them
            from git_theta.storage.buffers import store_buffers

            lineage = lineage_of(scanned.described, versions, older, path, store, plugins)
            wanted = lacking(scanned, _patched(previous, scanned.skeleton), lineage, places, form)
            places |= store_buffers(store, plugins, wanted, opened.advance, settled)
            _check_stored(path, scanned, places)
        elif lost:
            places = {}  # who names packs has stored the file; here some of it is not
        hints = pack_hints(items, places, store)
        for hint in hints if write else ():
            store.packs.freshen(hint.pack)
        metadata = Metadata(
            _formats(detected, plugins),
            digest,
            file.size,
            scanned.skeleton,
            scanned.described.groups,
            scanned.described.buffers,
            hints,
        )
        return Cleaned(_print(metadata), detected.warning)

    try:
        with unfolded(file, detected.layout, store.folder / "tmp", advance) as opened:
            return clean_as(detected, opened)
    except (FormatMismatch, LimitExceeded) as fault:
        # all of it stays closed, or is more than metadata can tell apart: unknown, not lost
        if detected.formats == (UNKNOWN,):
            raise
        reads_on()
        unknown = Detected((UNKNOWN,), Layout(), f"{path}: {fault}")
        return clean_as(unknown, Unfolded(file, unknown.layout, {}, advance))


def _print(metadata: Metadata) -> bytes:
    text = print_metadata(metadata)
    if len(text) > MAX_BYTES:
        raise LimitExceeded(f"Metadata of {len(text)} bytes, expected at most {MAX_BYTES}")
    return text


def _check_formats(previous: Head | None, plugins: Plugins) -> None:
    """Refuse to take a checkpoint for an unknown file where its plugin is not installed."""
    for name, distribution in previous.formats if previous else ():
        if name != UNKNOWN:
            plugins.format(name, distribution=distribution)


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


def _check_stored(path: str, scanned: Scanned, places: Mapping[BufferId, Location]) -> None:
    """Never let git have metadata of what is not stored, whatever went wrong."""
    needed = scanned.needed
    lost = [buffer for buffer in needed if buffer not in places]
    if lost:
        raise StoreError(
            f"{path}: {len(lost)} of {len(needed)} buffers were not stored, the first is {lost[0]}",
            remedy="This is a bug in git-theta; nothing was added",
        )
