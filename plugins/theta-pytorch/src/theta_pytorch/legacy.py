"""What ``torch.save`` wrote before torch 1.6: five pickles in a row, then the raw storages.

The numbers are little-endian whatever machine wrote them: torch swaps on writing, and the header's
word on the machine's byte order is read by nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

from git_theta.checkpoint import Layout
from git_theta.formats.interface import CheckpointFormat, ScanContext, TensorData
from git_theta.source import Source

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001

_MAGIC_PICKLE = b"\x8a\x0a" + MAGIC.to_bytes(10, "little") + b"."


class PyTorchLegacy(CheckpointFormat):
    """A checkpoint of ``torch.save`` that is no zip file; it carries no checksums."""

    name = "pytorch-legacy"

    def matches(self, head: bytes, path: str) -> bool:
        """Whether the file begins with the pickled magic number."""
        return head.startswith(b"\x80") and _MAGIC_PICKLE in head[:32]

    def scan(self, file: Source, context: ScanContext) -> Layout:
        """Find the tensors by the path at which they hang in the object."""
        # here, since git waits for what is imported, and most files are of another format
        from theta_pytorch.legacy_file import parse_legacy

        return parse_legacy(file).layout

    def write(
        self, tensors: Mapping[str, TensorData], template: Source | None, out: BinaryIO
    ) -> None:
        """Write by ``torch.save`` in its old format: as the template is nested, or a flat dict."""
        from theta_pytorch.legacy_file import parse_legacy
        from theta_pytorch.writing import write_with_torch

        parsed = parse_legacy(template) if template else None
        write_with_torch(tensors, template, parsed, out, zipped=False)
