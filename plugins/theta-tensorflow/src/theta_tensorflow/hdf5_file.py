"""HDF5 files: Keras's ``.weights.h5`` and legacy ``.h5``, and any other that holds numbers.

Contiguous datasets are groups, named by their paths. Chunked, compressed and compact ones, texts
and all structure stay in the skeleton. No checksum covers contiguous data, so a splice needs none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

from git_theta.checkpoint import Layout
from git_theta.formats.interface import CheckpointFormat, ScanContext, TensorData
from git_theta.source import Source
from theta_tensorflow.hdf5.scan import MAGIC, scan_hdf5


class Hdf5(CheckpointFormat):
    """What h5py writes by default."""

    name = "hdf5"

    def matches(self, head: bytes, path: str) -> bool:
        """Whether the signature is there."""
        return head.startswith(MAGIC)

    def scan(self, file: Source, context: ScanContext) -> Layout:
        """Find the contiguous datasets."""
        return scan_hdf5(file)

    def write(
        self, tensors: Mapping[str, TensorData], template: Source | None, out: BinaryIO
    ) -> None:
        """Write datasets through h5py, into a template's other content where there is one."""
        from theta_tensorflow.hdf5.writing import write_with_h5py

        write_with_h5py(tensors, template, out)
