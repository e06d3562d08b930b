"""A data file of OCDBT: values of many keys, of which chunks of zarr arrays are shown as groups."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from git_theta.checkpoint import MAX_RANK, Layout
from git_theta.errors import CheckpointError, FormatMismatch, LimitExceeded
from git_theta.formats.interface import CheckpointFormat, ScanContext, TensorData
from git_theta.source import BytesSource, Source
from theta_flax.folders import find_ocdbt
from theta_flax.ocdbt.nodes import MANIFEST, MANIFEST_FILE, Leaf, Place, read_manifest
from theta_flax.ocdbt.tree import walk
from theta_flax.zarr.chunks import MAX_CHUNKS, Chunk, find_chunks, lay_out
from theta_flax.zarr.metadata import (
    FILES,
    REMEDY,
    ZarrArray,
    parse_metadata,
    read_bounded,
    tell_packed,
)

MAX_METADATA = 2**25
"""Bytes of all metadata of a store's arrays."""

_DATA_FILE = re.compile(r"(?:.*/)?([^/]+/[0-9a-f]{32})")


class Ocdbt(CheckpointFormat):
    """A data file of a store that tensorstore wrote for Orbax.

    What a file holds is told by the store's manifest, in the folder above, and by the nodes of a
    tree, which lie in data files and name others by their paths. Values have no checksums, so
    nothing else changes with them; small ones lie packed in nodes and stay in the skeleton.
    """

    name = "ocdbt"

    def matches(self, head: bytes, path: str) -> bool:
        """Whether the file is called as data files are: it begins with any value."""
        return _DATA_FILE.fullmatch(path) is not None

    def scan(self, file: Source, context: ScanContext) -> Layout:
        """Find the chunks of arrays that lie raw in the file, as the latest version has them."""
        matched = _DATA_FILE.fullmatch(context.path)
        manifest = context.sibling(f"../{MANIFEST_FILE}") if matched else None
        if not matched or manifest is None or manifest.read(0, min(4, manifest.size)) != _MAGIC:
            raise FormatMismatch("Expected a manifest of OCDBT in the folder above, found none")
        own = matched[1]
        values, arrays = _read_store(own, manifest, _opener(file, own, context))
        return lay_out(_find_all(file, values, arrays))

    def folders(self, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """The Orbax checkpoints, and what in them are data files."""
        return find_ocdbt(names)

    def write_to(
        self,
        tensors: Mapping[str, TensorData],
        template: Source | None,
        path: Path,
        context: ScanContext,
    ) -> None:
        """Write a checkpoint's folder, whose arrays lie in an OCDBT store, through Orbax."""
        from theta_flax.orbax.writing import write_with_orbax

        write_with_orbax(tensors, template, path, context, ocdbt=True)


_MAGIC = MANIFEST.to_bytes(4, "big")

Opener = Callable[[str], Source | None]
Value = tuple[str, Place]


def _opener(file: Source, own: str, context: ScanContext) -> Opener:
    """Opens the store's files, each once; the scanned one is at hand."""
    opened: dict[str, Source | None] = {own: file}

    def open_file(path: str) -> Source | None:
        if path not in opened:
            opened[path] = context.sibling(f"../{path}")
        return opened[path]

    return open_file


def _read_store(
    own: str, manifest: Source, open_file: Opener
) -> tuple[list[Value], dict[str, ZarrArray]]:
    """The values that lie in a file, by key, and the arrays of the store, by folder."""
    values: list[Value] = []
    arrays: dict[str, ZarrArray] = {}
    nbytes = 0
    for leaf in walk(read_manifest(manifest), open_file):
        key = str(leaf.key, "utf-8", "replace")
        folder, _, name = key.rpartition("/")
        if name in FILES:
            text = _read_value(leaf, open_file, name)
            nbytes += len(text)
            if nbytes > MAX_METADATA:
                raise LimitExceeded(f"Expected metadata of {MAX_METADATA} bytes, found more")
            arrays[folder] = parse_metadata(name, text)
        elif leaf.place and leaf.place.path == own:
            values.append((key, leaf.place))
    return values, arrays


def _read_value(leaf: Leaf, open_file: Opener, name: str) -> bytes:
    if leaf.place is None:
        return read_bounded(BytesSource(leaf.value or b""), name)
    file = open_file(leaf.place.path)
    if file is None:
        raise CheckpointError(f"Expected the file {leaf.place.path!r} of the store, found none")
    return read_bounded(file.window(leaf.place.start, leaf.place.nbytes), name)


def _find_all(file: Source, values: Sequence[Value], arrays: dict[str, ZarrArray]) -> list[Chunk]:
    chunks: list[Chunk] = []
    packed = ""
    for key, place in values:
        found = _find_array(key, arrays)
        if found is None:
            continue
        array, said, where = found
        if said.packed:
            packed = packed or tell_packed(array, said)
            continue
        chunks += find_chunks(array, said, where, file, place.start, place.nbytes)
        if len(chunks) > MAX_CHUNKS:
            raise LimitExceeded(f"Expected at most {MAX_CHUNKS} chunks in a file, found more")
    if packed and not chunks:
        raise CheckpointError(packed, remedy=REMEDY)
    return chunks


def _find_array(key: str, arrays: dict[str, ZarrArray]) -> tuple[str, ZarrArray, list[int]] | None:
    """The array of which a key is a part, and which part; None: it is none."""
    folder = key
    for _ in range(MAX_RANK + 1):  # a number for each dimension, and perhaps "c" before them
        folder, slash, _ = folder.rpartition("/")
        if not slash:
            return None
        said = arrays.get(folder)
        where = said.key.fullmatch(key[len(folder) + 1 :]) if said else None
        if said and where:
            return folder, said, [int(number) for number in where.groups()]
    return None
