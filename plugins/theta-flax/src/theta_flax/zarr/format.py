"""A chunk or a shard of a zarr array, in a file of its own, with its metadata in a file nearby."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from git_theta.checkpoint import MAX_RANK, Layout
from git_theta.errors import CheckpointError, FormatMismatch
from git_theta.formats.interface import CheckpointFormat, ScanContext, TensorData
from git_theta.source import Source
from theta_flax.folders import find_zarr
from theta_flax.names import WHOLE
from theta_flax.zarr.chunks import find_chunks, lay_out
from theta_flax.zarr.metadata import (
    FILES,
    REMEDY,
    ZarrArray,
    parse_metadata,
    read_bounded,
    tell_packed,
)

_PART = re.compile(r"c|(c\.)?[0-9]+(\.[0-9]+)*")  # of what a chunk is called, between slashes


class Zarr(CheckpointFormat):
    """A file of an array that zarr or tensorstore wrote, as Orbax does without OCDBT.

    Nothing that changes with the numbers has a checksum: that of a shard is for its table.
    """

    name = "zarr"

    def matches(self, head: bytes, path: str) -> bool:
        """Whether the file is called as chunks are: its bytes are numbers and nothing else."""
        return _PART.fullmatch(path.rpartition("/")[2]) is not None

    def scan(self, file: Source, context: ScanContext) -> Layout:
        """Find the one group, or one for each chunk of a shard."""
        found = _find_metadata(context)
        said = found.said
        where = said.key.fullmatch(found.key)
        if where is None:
            raise FormatMismatch(f"Expected a chunk of {found.array!r}, found {found.key!r}")
        if said.packed:
            raise CheckpointError(tell_packed(found.array, said), remedy=REMEDY)
        place = [int(number) for number in where.groups()]
        return lay_out(list(find_chunks(found.array, said, place, file, 0, file.size)))

    def folders(self, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """The Orbax checkpoints, and what in them are chunks."""
        return find_zarr(names)

    def write_to(
        self,
        tensors: Mapping[str, TensorData],
        template: Source | None,
        path: Path,
        context: ScanContext,
    ) -> None:
        """Write a checkpoint's folder, whose arrays have files of their own, through Orbax."""
        from theta_flax.orbax.writing import write_with_orbax

        write_with_orbax(tensors, template, path, context, ocdbt=False)


class _Found(NamedTuple):
    array: str
    key: str
    said: ZarrArray


def _find_metadata(context: ScanContext) -> _Found:
    """The metadata of the array in whose folder the file lies, or a folder above."""
    *above, _ = parts = context.path.split("/")
    for depth, name in _candidates(parts):
        metadata = context.sibling("../" * (depth - 1) + name)
        if metadata is not None:
            array = above[-depth] if len(above) >= depth else WHOLE
            said = parse_metadata(name, read_bounded(metadata, name))
            return _Found(array, "/".join(parts[-depth:]), said)
    raise FormatMismatch("Expected a chunk of zarr, found no metadata of an array nearby")


def _candidates(parts: Sequence[str]) -> Iterator[tuple[int, str]]:
    """How many last parts of a path may be a chunk's name, and whose it may be; likely ones first.

    Asking for a file that is not there takes git's time.
    """
    depths = []
    for depth, part in enumerate(reversed(parts[-MAX_RANK - 1 :]), 1):
        if not _PART.fullmatch(part):
            break
        depths.append(depth)
        if part == "c":  # as zarr 3 calls them
            yield depth, FILES[1]
    for depth in depths:
        yield depth, FILES[0]
        yield depth, FILES[1]
