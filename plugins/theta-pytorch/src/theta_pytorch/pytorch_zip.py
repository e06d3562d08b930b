"""What ``torch.save`` writes since torch 1.6: a zip file of a pickle and raw storages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, BinaryIO

from git_theta.checkpoint import Layout
from git_theta.errors import FormatMismatch
from git_theta.formats.interface import CheckpointFormat, ScanContext, TensorData
from git_theta.formats.zip_directory import read_entries, splice_stored
from git_theta.source import Source

if TYPE_CHECKING:
    from theta_pytorch.layout import Parsed

_ZIP = b"PK\x03\x04"


class PyTorch(CheckpointFormat):
    """A checkpoint of ``torch.save``: a state dict, a training checkpoint, a whole module.

    What a pickle holds beside tensors stays in the skeleton. Never imported: torch, except by
    :meth:`write`.
    """

    name = "pytorch"

    def matches(self, head: bytes, path: str) -> bool:
        """Whether the file begins as a zip file; the suffix says nothing."""
        return head.startswith(_ZIP)

    def scan(self, file: Source, context: ScanContext) -> Layout:
        """Find the tensors by the path at which they hang in the object."""
        return _parse(file).layout

    def splice(
        self,
        template: Source,
        layout: Layout,
        changed: Mapping[int, Source],
        context: ScanContext,
    ) -> Source:
        """The archive with other storages and their CRCs, all else as it is."""
        return splice_storages(template, layout, changed)

    def write(
        self, tensors: Mapping[str, TensorData], template: Source | None, out: BinaryIO
    ) -> None:
        """Write by ``torch.save``: as the template is nested, or a flat dict."""
        from theta_pytorch.writing import write_with_torch

        write_with_torch(tensors, template, _parse(template) if template else None, out)


def _parse(file: Source) -> Parsed:
    # here, since git waits for what is imported, and most files are of another format
    from theta_pytorch.archive import PICKLE, is_torchscript, open_archive, parse_archive
    from theta_pytorch.pickles.pause import collector_paused

    archive = open_archive(file)
    if is_torchscript(archive):
        raise FormatMismatch("Expected a checkpoint, found a TorchScript program")
    with collector_paused():
        return parse_archive(archive, {PICKLE: "data/"})


def splice_storages(template: Source, layout: Layout, changed: Mapping[int, Source]) -> Source:
    """An archive with other bytes in some buffers, the zip file's CRCs recomputed."""
    return splice_stored(
        template,
        read_entries(template),
        {layout.buffers[index].start: value for index, value in changed.items()},
    )
