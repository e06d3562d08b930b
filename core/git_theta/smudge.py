"""From metadata to a file, what ``git checkout`` does: read top to bottom.

skeleton -> table -> every run decoded in file order -> one digest over all that was given out.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import blake3

from git_theta.chunks import read_entries
from git_theta.digests import digest
from git_theta.errors import MetadataError, MissingPackError, PackError, ThetaError
from git_theta.joined import Joined
from git_theta.metadata import Metadata
from git_theta.parallel import ordered_map
from git_theta.plugins import Plugins
from git_theta.source import Source
from git_theta.storage.decode import EMPTY, Reader
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import MAX_BLOCK, BufferId
from git_theta.table import Table, read_table
from git_theta.views import swapped

BATCH = 2**20
"""Bytes of short pieces that one thread decodes at a time."""


class Piece(NamedTuple):
    """A stretch of the file to rebuild."""

    item: int
    """Number of the item that it belongs to; 0 is the skeleton."""
    data: Source


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A file that can be read from a store."""

    metadata: Metadata
    path: str
    table: Table
    pieces: tuple[Piece, ...]
    """All of it in file order."""
    chunks: Mapping[BufferId, Source]
    """The buffers that the skeleton consists of."""
    store: LocalStore
    """Where all of it comes from."""

    def items(self) -> dict[int, Source]:
        """The bytes of each item that lies in the file, little-endian where it is numbers."""
        found: dict[int, Source] = {}
        runs = iter(zip(self.table.items, self.table.big_endian, strict=True))
        for item, data in self.pieces:
            if item:
                number, big_endian = next(runs)
                dtype = _item(self.metadata, number)[0].dtype
                found[number] = swapped(data, dtype) if big_endian else data
        return found


def rebuild(metadata: Metadata, path: str, *, store: LocalStore, plugins: Plugins) -> Rebuilt:
    """Find everything that a file consists of; nothing but the skeleton is read yet.

    Raises
    ------
    MissingPackError
        When the store lacks something; the message names groups and packs.
    MetadataError
        When the metadata contradicts itself.
    PackError
        When a pack is corrupt.
    """
    reader = Reader(store, plugins)
    skeleton, chunks = _read_skeleton(metadata, path, store, reader)
    try:
        table, at = read_table(skeleton, metadata, path)
    except (MetadataError, PackError):
        _verify_skeleton(chunks, path, store)  # what is damaged is not malformed
        raise
    total = skeleton.size - at + sum(_item(metadata, item, path)[1] for item in table.items)
    if total != metadata.nbytes or sum(table.gaps) > skeleton.size - at:
        raise MetadataError(f"{path}: its parts have {total} bytes, expected {metadata.nbytes}")
    sources = _open_items(metadata, path, table, store, reader)
    pieces = []
    for gap, item, big_endian in zip(table.gaps, table.items, table.big_endian, strict=True):
        if gap:
            pieces.append(Piece(0, skeleton.window(at, gap)))
            at += gap
        source = sources[item]
        dtype = _item(metadata, item)[0].dtype
        pieces.append(Piece(item, swapped(source, dtype) if big_endian else source))
    pieces.append(Piece(0, skeleton.window(at, skeleton.size - at)))
    return Rebuilt(metadata, path, table, tuple(pieces), chunks, store)


def content(
    rebuilt: Rebuilt, advance: Callable[[int], None] = lambda _: None
) -> Iterator[bytes | memoryview]:
    """All bytes of the file in order; the last of them only counts if no error follows it.

    Raises
    ------
    PackError
        At the end, when what was given out is not the file; the message names the culprit.
    """
    hasher = blake3.blake3()
    try:
        for data in ordered_map(_read_batch, _batches(rebuilt.pieces)):
            hasher.update(data)
            yield data
            advance(len(data))
    except PackError:
        _blame(rebuilt)
        raise
    if hasher.digest() != rebuilt.metadata.digest:
        _blame(rebuilt)
        raise PackError(
            f"{rebuilt.path}: what its packs hold is not the file that its metadata describes, "
            f"expected the digest {rebuilt.metadata.digest.hex()}, found {hasher.hexdigest()}",
            remedy="The metadata was changed by hand, or mixed line by line by git merge -X; "
            f"take a version that was added: git checkout COMMIT -- {shlex.quote(rebuilt.path)}",
        )


def _read_skeleton(
    metadata: Metadata, path: str, store: LocalStore, reader: Reader
) -> tuple[Source, dict[BufferId, Source]]:
    """The skeleton, and the buffers that it consists of: not verified if it was cut."""
    top = (BufferId("U8", metadata.skeleton.digest), metadata.skeleton.nbytes)
    level, chunks = _load([top], metadata, path, store, reader)
    _verify_skeleton(chunks, path, store)
    for cut in range(metadata.skeleton.cuts):
        if cut:
            _verify_skeleton(chunks, path, store)
        level, chunks = _load(read_entries(level, path), metadata, path, store, reader)
    return level, chunks


def _load(
    entries: Iterable[tuple[BufferId, int]],
    metadata: Metadata,
    path: str,
    store: LocalStore,
    reader: Reader,
) -> tuple[Source, dict[BufferId, Source]]:
    pieces: list[Source] = []
    chunks: dict[BufferId, Source] = {}
    iterator = iter(entries)
    while batch := list(islice(iterator, 4096)):
        located = store.find(identity for identity, _ in batch)
        for identity, nbytes in batch:
            if identity not in located:
                raise _missing(metadata, path, store, [0])
            if identity not in chunks:
                try:
                    chunks[identity] = reader.open(identity, located[identity])
                except (MissingPackError, PackError) as fault:
                    raise _told(fault, metadata, path, store, 0) from fault
            found = chunks[identity].size
            if found != nbytes:
                raise MetadataError(f"{path}: {identity} has {found} bytes, expected {nbytes}")
            pieces.append(chunks[identity])
    return (pieces[0] if len(pieces) == 1 else Joined(pieces)), chunks


def _verify_skeleton(chunks: Mapping[BufferId, Source], path: str, store: LocalStore) -> None:
    """Raise the error that names the pack of the first damaged one of a skeleton's buffers."""
    for identity, source in chunks.items():
        if _digest(source, path, "the skeleton") != identity.digest:
            raise PackError(
                f"{path}, the skeleton: {identity} has another digest; {_where(store, identity)}",
                remedy="Run git theta fsck, and restore the pack from a copy",
            )


def _digest(source: Source, path: str, name: str) -> bytes:
    try:
        return digest(source)
    except PackError as fault:
        raise PackError(f"{path}, {name}: {fault.args[0]}", remedy=fault.remedy) from fault


def _told(
    fault: ThetaError, metadata: Metadata, path: str, store: LocalStore, item: int
) -> ThetaError:
    """An error about packs, with the file and the item named."""
    if isinstance(fault, MissingPackError):
        return _missing(metadata, path, store, [item])
    what = f"{path}, {item_name(metadata, item)}: {fault.args[0]}"
    return PackError(what, remedy=fault.remedy)


def _where(store: LocalStore, identity: BufferId) -> str:
    packs = dict.fromkeys(location.pack for location in store.find([identity])[identity])
    return f"it lies in pack {' or '.join(packs)}"


def _item(metadata: Metadata, item: int, path: str = "") -> tuple[BufferId, int]:
    """Identity and length in bytes of a group or a buffer."""
    groups, buffers = metadata.groups, metadata.buffers
    if 1 <= item <= len(groups):
        group = groups[item - 1]
        return BufferId(group.dtype, group.digest), group.nbytes
    if len(groups) < item <= len(groups) + len(buffers):
        buffer = buffers[item - len(groups) - 1]
        return BufferId(buffer.dtype, buffer.digest), buffer.nbytes
    raise MetadataError(f"{path}: its layout names item {item}, which it does not have")


def _open_items(
    metadata: Metadata, path: str, table: Table, store: LocalStore, reader: Reader
) -> dict[int, Source]:
    identities = {item: _item(metadata, item, path) for item in dict.fromkeys(table.items)}
    located = store.find(identity for identity, nbytes in identities.values() if nbytes)
    missing = [n for n, (i, nbytes) in identities.items() if nbytes and i not in located]
    if missing:
        raise _missing(metadata, path, store, missing)
    sources = {}
    for item, (identity, nbytes) in identities.items():
        try:
            source = reader.open(identity, located[identity]) if nbytes else EMPTY
        except (MissingPackError, PackError) as fault:
            raise _told(fault, metadata, path, store, item) from fault
        if source.size != nbytes:
            raise MetadataError(
                f"{path}: {item_name(metadata, item)} has {source.size} bytes, expected {nbytes}"
            )
        sources[item] = source
    return sources


def item_name(metadata: Metadata, item: int) -> str:
    """What to call an item in a message."""
    if item == 0:
        return "the skeleton"
    if item <= len(metadata.groups):
        return f"group {metadata.groups[item - 1].name!r}"
    return f"buffer {_item(metadata, item)[0]}"


def _missing(
    metadata: Metadata, path: str, store: LocalStore, items: Sequence[int]
) -> MissingPackError:
    lost = set(items)
    packs = [hint.pack for hint in metadata.packs if not lost.isdisjoint(hint.items)]
    absent = store.packs.missing(packs) or set(packs)
    names = ", ".join(item_name(metadata, item) for item in items[:3])
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    listed = "".join(f"\n  pack {pack}" for pack in packs if pack in absent)
    return MissingPackError(
        f"{path}: the store {store.folder} lacks {names}{more}, expected in:{listed}",
        remedy=f"Copy these packs into {store.packs.folder} from a clone that has them, "
        f"then run git theta checkout -- {shlex.quote(path)}",
    )


def _batches(pieces: Sequence[Piece]) -> Iterator[tuple[Source, int, int]]:
    """What to read at once: a stretch of a long piece, or many short pieces together."""
    short: list[Source] = []
    nbytes = 0
    for _, source in pieces:
        if short and nbytes + source.size > BATCH:
            yield Joined(short), 0, nbytes
            short, nbytes = [], 0
        if source.size <= BATCH:
            short.append(source)
            nbytes += source.size
            continue
        for offset in range(0, source.size, MAX_BLOCK):
            yield source, offset, min(MAX_BLOCK, source.size - offset)
    if short:
        yield Joined(short), 0, nbytes


def _read_batch(batch: tuple[Source, int, int]) -> bytes | memoryview:
    source, offset, count = batch
    return source.read(offset, count)


def _blame(rebuilt: Rebuilt) -> None:
    """Raise the error that names the first damaged item; return when each is what it should be."""
    _verify_skeleton(rebuilt.chunks, rebuilt.path, rebuilt.store)
    for item, source in rebuilt.items().items():
        name, identity = item_name(rebuilt.metadata, item), _item(rebuilt.metadata, item)[0]
        found = _digest(source, rebuilt.path, name)
        if source.size and found != identity.digest:
            raise PackError(
                f"{rebuilt.path}, {name}: expected the digest {identity.digest.hex()}, found "
                f"{found.hex()}; {_where(rebuilt.store, identity)}",
                remedy="Run git theta fsck, and restore the pack from a copy",
            )
