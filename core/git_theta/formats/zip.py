"""Zip files that hold checkpoints: NumPy's .npz, and any other.

Only entries that are stored as they are can hold groups. Nothing is inflated, so a compressed
entry stays in the skeleton, and a zip bomb is a few bytes like any others.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import BinaryIO

from git_theta.checkpoint import Buffer, Layout, Tensor
from git_theta.errors import CheckpointError, FormatMismatch
from git_theta.formats.interface import CheckpointFormat, ScanContext, TensorData
from git_theta.formats.npy import write_array
from git_theta.formats.zip_directory import MAGIC, read_entries, splice_stored
from git_theta.source import Source

_NPY = ".npy"


class Zip(CheckpointFormat):
    """A zip file in which some stored entry is of a format that is installed."""

    name = "zip"

    def matches(self, head: bytes, path: str) -> bool:
        """Whether an entry comes first."""
        return head.startswith(MAGIC[0])

    def scan(self, file: Source, context: ScanContext) -> Layout:
        """Find the groups of all entries.

        A group is named as in an .npz, by its entry without ``.npy``, or else ``ENTRY/GROUP``.
        """
        buffers: list[Buffer] = []
        tensors: dict[str, Tensor] = {}
        nested: dict[str, None] = {}
        for entry in read_entries(file):
            if not entry.stored or not entry.nbytes:
                continue
            part = context.scan_part(file.window(entry.start, entry.nbytes), entry.name)
            if part is None:
                continue
            nested.update(dict.fromkeys(part.nested))
            for tensor in part.tensors:
                name = f"{entry.name}/{tensor.name}"
                if part.nested[:1] == ("npy",) and entry.name.removesuffix(_NPY) not in tensors:
                    name = entry.name.removesuffix(_NPY)
                if name in tensors:
                    raise CheckpointError(
                        f"Two parameter groups of the zip file are named {name!r}"
                    )
                tensors[name] = tensor._replace(name=name, buffer=len(buffers) + tensor.buffer)
            buffers += (b._replace(start=entry.start + b.start) for b in part.buffers)
        if not nested:
            raise FormatMismatch("Expected a zip file that holds a checkpoint, found none in it")
        return Layout(tuple(buffers), tuple(tensors.values()), tuple(nested))

    def splice(
        self,
        template: Source,
        layout: Layout,
        changed: Mapping[int, Source],
        context: ScanContext,
    ) -> Source:
        """Splice each entry by its own format, then make the zip file's checksums right."""
        entries = read_entries(template)
        starts = [buffer.start for buffer in layout.buffers]
        parts: dict[int, Source] = {}
        for entry in entries:
            first = bisect_left(starts, entry.start)
            behind = bisect_right(starts, entry.start + entry.nbytes)
            inside = {n - first: changed[n] for n in range(first, behind) if n in changed}
            if inside:
                part = template.window(entry.start, entry.nbytes)
                parts[entry.start] = context.splice_part(part, entry.name, inside)
        return splice_stored(template, entries, parts)

    def write(
        self, tensors: Mapping[str, TensorData], template: Source | None, out: BinaryIO
    ) -> None:
        """Write an .npz as ``numpy.savez`` does, block by block; other zip files are only read."""
        if template is not None and not _is_npz(template):
            raise CheckpointError(
                "Expected an .npz of uncompressed arrays, other zip files can only be read",
                remedy="Save the checkpoint with its own framework",
            )
        import zipfile  # which only writing takes

        with zipfile.ZipFile(out, "w") as archive:
            for name, tensor in tensors.items():
                with archive.open(name + _NPY, "w", force_zip64=True) as entry:
                    write_array(tensor, entry, name)


def _is_npz(file: Source) -> bool:
    return all(entry.stored and entry.name.endswith(_NPY) for entry in read_entries(file))
