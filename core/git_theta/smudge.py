"""From metadata to a file, what ``git checkout`` does: read top to bottom.

skeleton -> table -> every run decoded in file order -> one digest over all that was given out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, groupby
from typing import NamedTuple

import blake3

from git_theta.crew import Crew, can_fork
from git_theta.digests import digest, verify_item
from git_theta.errors import (
    CheckpointError,
    FileChangedError,
    MetadataError,
    MissingPackError,
    PackError,
)
from git_theta.folded import Folded
from git_theta.items import (
    all_items,
    item_name,
    missing,
    told,
)
from git_theta.joined import Joined
from git_theta.metadata import Metadata
from git_theta.parallel import ordered_map, worker_count
from git_theta.plugins import Plugins
from git_theta.skeleton import Chunks, Origin, read_skeleton
from git_theta.source import Source
from git_theta.storage.decode import EMPTY, NOTHING, AtHand, Reader
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import BufferId
from git_theta.table import MAX_MORE, MAX_RATIO, Table, read_table
from git_theta.views import swapped

BATCH = 2**20
"""Bytes of short pieces that one thread decodes at a time."""
STEP = 2 * 2**20
"""Bytes of a long piece that are read at a time: whole blocks, of most."""
MUCH = 8 * 2**20
"""Bytes to compute for which processes are forked."""

Item = tuple[BufferId, int]
"""Identity and length in bytes."""
Batch = tuple[Source, int, int]
"""What to read at once: a source, from where on, how many bytes."""


class Rebuilt(NamedTuple):
    """A file that can be read from a store."""

    metadata: Metadata
    path: str
    table: Table
    sources: Mapping[int, Source]
    """The bytes of each item that lies in the file, little-endian where it is numbers."""
    pieces: tuple[Source, ...]
    """All of it in file order."""
    skeleton: Chunks
    """What of it belongs to no buffer, and the layout."""
    store: LocalStore
    """Where all of it comes from."""
    computed: int
    """Bytes that are told in terms of others, and take computing."""
    at_hand: AtHand
    """What is read from elsewhere than the store."""


def rebuild(
    metadata: Metadata,
    path: str,
    *,
    store: LocalStore,
    plugins: Plugins,
    at_hand: AtHand = NOTHING,
) -> Rebuilt:
    """Find everything that a file consists of; nothing but the skeleton is read yet.

    ``at_hand`` are buffers that need not be read from the store.

    Raises
    ------
    MissingPackError
        When the store lacks something; the message names groups and packs.
    MetadataError
        When the metadata contradicts itself.
    PackError
        When a pack is corrupt.
    """
    reader = Reader(store, plugins, at_hand)
    skeleton = read_skeleton(Origin(metadata, path, store, plugins))
    try:
        table, at = read_table(skeleton, metadata, path)
    except (MetadataError, PackError):
        skeleton.verify()  # what is damaged is not malformed
        raise
    items = all_items(metadata)
    _check_size(skeleton.size - at, table, items, metadata, path)
    opened = {item: items[item] for item in dict.fromkeys(table.items)}
    sources, computed = _open_items(opened, metadata, path, store, reader)
    pieces: list[Source] = []
    for gap, piece in _in_file_order(table, items, sources):
        if gap:
            pieces.append(skeleton.window(at, gap))
            at += gap
        pieces.append(piece)
    pieces.append(skeleton.window(at, skeleton.size - at))
    computed += sum(frame.nbytes for frame in table.frames)
    return Rebuilt(
        metadata, path, table, sources, tuple(pieces), skeleton, store, computed, at_hand
    )


def _check_size(
    left: int, table: Table, items: Sequence[Item], metadata: Metadata, path: str
) -> None:
    """Check that runs and frames, with the ``left`` bytes of the skeleton, are as long as the file.

    Raises
    ------
    MetadataError
        When they are not.
    """
    total = left + sum([items[item][1] for item in table.items])
    opened = 0
    for run, runs, nbytes in table.frames:
        recipe, *numbers = [items[item][1] for item in table.items[run : run + 1 + runs]]
        total += nbytes - recipe - sum(numbers)
        opened += sum(numbers)
    if opened > MAX_RATIO * metadata.nbytes + MAX_MORE:
        raise MetadataError(
            f"{path}: its frames hold {opened} bytes, far more than the file's {metadata.nbytes}"
        )
    if total != metadata.nbytes or sum(table.gaps) > left:
        raise MetadataError(f"{path}: its parts have {total} bytes, expected {metadata.nbytes}")


def _in_file_order(
    table: Table, items: Sequence[Item], sources: Mapping[int, Source]
) -> Iterator[tuple[int, Source]]:
    """Runs and frames as the file has them, with the skeleton bytes that precede each."""
    runs = [
        swapped(sources[item], items[item][0].dtype) if big_endian else sources[item]
        for item, big_endian in zip(table.items, table.big_endian, strict=True)
    ]
    done = 0
    for frame in table.frames:
        yield from zip(table.gaps[done : frame.run], runs[done : frame.run], strict=True)
        done = frame.run + 1 + frame.runs
        numbers = Joined(runs[frame.run + 1 : done])
        yield table.gaps[frame.run], Folded(runs[frame.run], numbers, frame.nbytes)
    yield from zip(table.gaps[done:], runs[done:], strict=True)


def content(
    rebuilt: Rebuilt, advance: Callable[[int], None] = lambda _: None
) -> Iterator[bytes | memoryview]:
    """All bytes of the file in order; the last of them only counts if no error follows it.

    Each block is there until the next one is asked for.

    Raises
    ------
    PackError
        At the end, when what was given out is not the file; the message names the culprit.
    FileChangedError
        When what was at hand is not what it was.
    """
    hasher = blake3.blake3()
    try:
        for data in _read_all(rebuilt):
            hasher.update(data)
            yield data
            advance(len(data))
    except PackError as fault:
        _blame(rebuilt)
        raise _other_file(rebuilt, str(fault)) from fault
    except CheckpointError:
        _check_at_hand(rebuilt)
        raise
    if hasher.digest() != rebuilt.metadata.digest:
        _blame(rebuilt)
        found = f"expected the digest {rebuilt.metadata.digest.hex()}, found {hasher.hexdigest()}"
        raise _other_file(rebuilt, found)


def _other_file(rebuilt: Rebuilt, found: str) -> PackError:
    import shlex  # seldom needed, and git waits for what is imported

    return PackError(
        f"{rebuilt.path}: what its packs hold is not the file that its metadata describes: {found}",
        remedy="The metadata was changed by hand, or mixed line by line by git merge -X; "
        f"take a version that was added: git checkout COMMIT -- {shlex.quote(rebuilt.path)}",
    )


def _open_items(
    items: Mapping[int, Item],
    metadata: Metadata,
    path: str,
    store: LocalStore,
    reader: Reader,
) -> tuple[dict[int, Source], int]:
    """The bytes of each item, and how many of them are told in terms of others."""
    stored = {n: i for n, (i, nbytes) in items.items() if nbytes and i not in reader.at_hand}
    located = store.find(stored.values())
    lost = [item for item, identity in stored.items() if identity not in located]
    if lost:
        raise missing(metadata, path, store, lost)
    reader.ways.find(located, located)  # of all at once
    sources, computed = {}, 0
    for item, (identity, nbytes) in items.items():
        try:
            source = reader.open(identity, located.get(identity)) if nbytes else EMPTY
        except (MissingPackError, PackError) as fault:
            raise told(fault, metadata, path, store, item) from fault
        if source.size != nbytes:
            raise MetadataError(
                f"{path}: {item_name(metadata, item)} has {source.size} bytes, expected {nbytes}"
            )
        sources[item] = source
        computed += nbytes if item in stored and located[identity][0].depth > 1 else 0
    return sources, computed


def _batches(pieces: Sequence[Source]) -> Iterator[Batch]:
    """What to read at once: a stretch of a long piece, a frame, or many short pieces together."""
    short: list[Source] = []
    nbytes = 0
    for source in pieces:
        if short and nbytes + source.size > BATCH:
            yield Joined(short), 0, nbytes
            short, nbytes = [], 0
        if source.size <= BATCH:
            short.append(source)
            nbytes += source.size
            continue
        step = source.size if isinstance(source, Folded) else STEP
        for offset in range(0, source.size, step):
            yield source, offset, min(step, source.size - offset)
    if short:
        yield Joined(short), 0, nbytes


def _read_all(rebuilt: Rebuilt) -> Iterator[bytes | memoryview]:
    """All bytes in order, on all cores: threads suffice where there is little to compute."""
    if rebuilt.computed < MUCH or worker_count() == 1 or not can_fork():
        for alone, several in groupby(_batches(rebuilt.pieces), _is_frame):
            if alone:
                yield from chain.from_iterable(map(_read_batch, several))
            else:
                yield from chain.from_iterable(ordered_map(_read_whole, several))
        return
    batches = list(_batches(rebuilt.pieces))

    def read(number: int) -> Iterator[bytes | memoryview]:
        for data in _read_batch(batches[number]):
            yield memoryview(data).cast("B")

    with Crew(read, worker_count(), begin=rebuilt.store.after_fork, slot=STEP) as crew:
        for number in [crew.ask(number) for number in range(len(batches))]:
            yield from crew.results(number)


def _is_frame(batch: Batch) -> bool:
    """Whether it is a long frame, of which one block is made after the other."""
    return isinstance(batch[0], Folded)


def _read_batch(batch: Batch) -> Iterator[bytes | memoryview]:
    source, offset, count = batch
    return source.blocks() if _is_frame(batch) else iter([source.read(offset, count)])


def _read_whole(batch: Batch) -> list[bytes | memoryview]:
    return list(_read_batch(batch))


def _check_at_hand(rebuilt: Rebuilt) -> None:
    for identity, source in rebuilt.at_hand.items():
        try:
            same = digest(source) == identity.digest
        except CheckpointError:  # it became shorter
            same = False
        if not same:
            raise FileChangedError(
                f"{rebuilt.path} was written to while another version took its place",
                remedy="Run the command again once nothing writes to the file",
            )


def _blame(rebuilt: Rebuilt) -> None:
    """Raise the error that names the first damaged item; return when each is what it should be."""
    _check_at_hand(rebuilt)
    rebuilt.skeleton.verify()
    items = all_items(rebuilt.metadata)
    for item, source in rebuilt.sources.items():
        if source.size:
            name = item_name(rebuilt.metadata, item)
            verify_item(source, items[item][0], rebuilt.path, name, rebuilt.store)
