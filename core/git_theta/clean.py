"""From a file to metadata, what ``git add`` does: read top to bottom.

scan (format) -> digest (every buffer) -> store (what is new) -> metadata text. The caller has
ruled out files that git already has metadata for; see :mod:`git_theta.git.known`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from git_theta.checkpoint import Layout
from git_theta.chunks import Chunk, cut
from git_theta.describe import Description, describe, skeleton_source
from git_theta.digests import digest_runs, digest_tensors, whole_runs
from git_theta.errors import FormatMismatch, LimitExceeded, StoreError
from git_theta.formats.detect import UNKNOWN, Detected, Siblings, detect, no_siblings
from git_theta.meanwhile import LONG, STORING, beside
from git_theta.metadata import MAX_BYTES, Head, Metadata, Skeleton, parse_head, print_metadata
from git_theta.places import find_places, pack_hints
from git_theta.plugins import KERNEL, Plugins
from git_theta.source import Source
from git_theta.storage.index import Location
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import BufferId
from git_theta.storage.unfolded import Unfolded, unfolded
from git_theta.table import Run, cut_runs

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
        source, layout, recipes, advance = opened
        runs, first = cut_runs(layout)
        digests = partial(digest_runs, source, runs, advance)
        soon = STORING if write and file.size >= LONG else ()
        run_digests, digested = beside(digests, soon) if soon else digests()
        whole = whole_runs(layout, runs, first)
        tensor_digests = digest_tensors(source, layout, whole, run_digests)
        described = describe(layout, runs, first, whole, run_digests, tensor_digests, recipes)
        skeleton, chunks = cut(skeleton_source(source, described.table, runs))
        items = [(0, chunk.identity) for chunk in chunks]
        items += [(item, identity) for item, identity, _ in described.stored]
        places = find_places(store, [identity for _, identity in items])
        from git_theta.lacking import lacking, lineage_of  # numpy comes with it

        lineage = lineage_of(described, versions, older, path, store, plugins)
        patched = _patched(previous, skeleton)
        wanted = lacking(source, digested, described, runs, chunks, patched, lineage, places, form)
        if write:
            from git_theta.storage.buffers import store_buffers

            places |= store_buffers(store, plugins, wanted, advance)
            _check_stored(path, chunks, described, runs, places)
        elif next(wanted, None):
            places = {}  # who names packs has stored the file; here half of it is not
        hints = pack_hints(items, places, store)
        for hint in hints if write else ():
            store.packs.freshen(hint.pack)
        metadata = Metadata(
            _formats(detected, plugins),
            digest,
            file.size,
            skeleton,
            described.groups,
            described.buffers,
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


def _check_stored(
    path: str,
    chunks: Sequence[Chunk],
    described: Description,
    runs: Sequence[Run],
    places: Mapping[BufferId, Location],
) -> None:
    """Never let git have metadata of what is not stored, whatever went wrong."""
    needed = [chunk.identity for chunk in chunks if chunk.data.size]
    needed += [buffer for _, buffer, number in described.stored if runs[number].nbytes]
    lost = [buffer for buffer in needed if buffer not in places]
    if lost:
        raise StoreError(
            f"{path}: {len(lost)} of {len(needed)} buffers were not stored, the first is {lost[0]}",
            remedy="This is a bug in git-theta; nothing was added",
        )
