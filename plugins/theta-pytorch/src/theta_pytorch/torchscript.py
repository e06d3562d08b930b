"""What ``torch.jit.save`` writes: a program with its weights, in a zip file."""

from __future__ import annotations

from collections.abc import Mapping

from git_theta.checkpoint import Layout
from git_theta.errors import FormatMismatch
from git_theta.formats.interface import CheckpointFormat, ScanContext
from git_theta.source import Source
from theta_pytorch.pytorch_zip import splice_storages


class TorchScript(CheckpointFormat):
    """A TorchScript program; its groups are the module's attributes, and ``constants.0`` and so on.

    New values go into an old program by :meth:`splice`. There is no :meth:`write`: a program of
    another structure is other code, which only its author can trace or script.
    """

    name = "torchscript"

    def matches(self, head: bytes, path: str) -> bool:
        """Whether the file begins as a zip file; the suffix says nothing."""
        return head.startswith(b"PK\x03\x04")

    def scan(self, file: Source, context: ScanContext) -> Layout:
        """Find the tensors by the path at which they hang in the module."""
        # here, since git waits for what is imported, and most files are of another format
        from theta_pytorch.archive import (
            CONSTANTS,
            PICKLE,
            is_torchscript,
            open_archive,
            parse_archive,
        )
        from theta_pytorch.pickles.pause import collector_paused

        archive = open_archive(file)
        if not is_torchscript(archive):
            raise FormatMismatch(f"Expected a record {CONSTANTS} in the zip file, found none")
        with collector_paused():
            return parse_archive(archive, {PICKLE: "data/", CONSTANTS: "constants/"}).layout

    def splice(
        self,
        template: Source,
        layout: Layout,
        changed: Mapping[int, Source],
        context: ScanContext,
    ) -> Source:
        """The program with other weights and their CRCs, all else as it is."""
        return splice_storages(template, layout, changed)
