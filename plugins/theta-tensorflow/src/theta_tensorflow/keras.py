"""Keras's own files, ``.keras``: a zip of an architecture, and an HDF5 file with the weights."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from typing import BinaryIO

from git_theta.checkpoint import Layout
from git_theta.errors import CheckpointError, FormatMismatch
from git_theta.formats.interface import ScanContext, TensorData
from git_theta.formats.zip import Zip
from git_theta.formats.zip_directory import Entry, read_entries
from git_theta.source import Source
from theta_tensorflow.hdf5.writing import write_with_h5py

WEIGHTS = "model.weights.h5"
_SUFFIX = ".keras"


class Keras(Zip):
    """Groups are named by their paths in the HDF5 file, as in a ``.weights.h5``."""

    name = "keras"

    def scan(self, file: Source, context: ScanContext) -> Layout:
        """Find the groups of the weights."""
        try:
            entries = read_entries(file)
        except CheckpointError as fault:
            if context.path.endswith(_SUFFIX):
                raise
            raise FormatMismatch("Expected a zip file that can be read") from fault
        entry = _find_weights(entries)
        part = context.scan_part(file.window(entry.start, entry.nbytes), entry.name)
        if part is None:
            raise CheckpointError(f"Expected an HDF5 file as {WEIGHTS}, found none")
        buffers = tuple(b._replace(start=entry.start + b.start) for b in part.buffers)
        return Layout(buffers, part.tensors, part.nested)

    def write(
        self, tensors: Mapping[str, TensorData], template: Source | None, out: BinaryIO
    ) -> None:
        """Write a template anew with other weights; without one there is no architecture."""
        if template is None:
            raise CheckpointError(
                "Expected a .keras file as a template, since one holds an architecture",
                remedy="Write the weights alone, as .weights.h5",
            )
        entries = read_entries(template)
        _find_weights(entries)
        with zipfile.ZipFile(out, "w") as archive:
            for entry in entries:
                if not entry.stored:
                    raise CheckpointError(f"Expected {entry.name} stored, found it compressed")
                with archive.open(entry.name, "w", force_zip64=True) as target:
                    part = template.window(entry.start, entry.nbytes)
                    if entry.name == WEIGHTS:
                        write_with_h5py(tensors, part, target)
                    else:
                        for block in part.blocks():
                            target.write(block)


def _find_weights(entries: Sequence[Entry]) -> Entry:
    names = {entry.name: entry for entry in entries if entry.stored}
    if not {"config.json", WEIGHTS} <= names.keys():
        raise FormatMismatch(f"Expected config.json and {WEIGHTS} in a .keras file")
    return names[WEIGHTS]
