"""Toy checkpoints: the magic TOY1, named vectors of F32, big-endian, and a CRC-32 at the end."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import BinaryIO

from git_theta.checkpoint import Buffer, Layout, Tensor
from git_theta.errors import CheckpointError
from git_theta.formats.interface import CheckpointFormat, ScanContext, TensorData
from git_theta.formats.overlay import Overlay
from git_theta.source import BytesSource, Source

MAGIC = b"TOY1"


class Toy(CheckpointFormat):
    """After the magic, groups: length of the name, name, count of numbers, numbers; then a CRC."""

    name = "toy"

    def matches(self, head: bytes, path: str) -> bool:
        """Whether the magic number is there."""
        return head.startswith(MAGIC)

    def scan(self, file: Source, context: ScanContext) -> Layout:
        """Walk from group to group."""
        buffers: list[Buffer] = []
        tensors: list[Tensor] = []
        at, end = len(MAGIC), file.size - 4
        while at < end:
            (length,) = struct.unpack(">H", file.read(at, 2))
            try:
                name = str(file.read(at + 2, length), "utf-8")
            except UnicodeDecodeError as fault:
                raise CheckpointError(f"Expected a name in UTF-8 at byte {at + 2}") from fault
            (count,) = struct.unpack(">Q", file.read(at + 2 + length, 8))
            at += 10 + length
            tensors.append(Tensor(name, "F32", (count,), len(buffers)))
            buffers.append(Buffer("F32", at, 4 * count, big_endian=True))
            at += 4 * count
        if at != end:
            raise CheckpointError(f"Expected a CRC at byte {at}, found {end - at} bytes before it")
        return Layout(tuple(buffers), tuple(tensors))

    def splice(
        self,
        template: Source,
        layout: Layout,
        changed: Mapping[int, Source],
        context: ScanContext,
    ) -> Source:
        """Replace the numbers and the CRC."""
        spliced = super().splice(template, layout, changed, context)
        crc = 0
        for block in spliced.window(0, template.size - 4).blocks():
            crc = zlib.crc32(block, crc)
        return Overlay(spliced, {template.size - 4: BytesSource(struct.pack(">I", crc))})

    def write(
        self, tensors: Mapping[str, TensorData], template: Source | None, out: BinaryIO
    ) -> None:
        """Write vectors of F32; a template has nothing else to keep."""
        import numpy as np

        file = bytearray(MAGIC)
        for name, tensor in tensors.items():
            if tensor.dtype != "F32" or len(tensor.shape) != 1:
                raise CheckpointError(f"Expected a vector of F32 as group {name!r}")
            text = name.encode()
            file += struct.pack(">H", len(text)) + text + struct.pack(">Q", *tensor.shape)
            file += np.frombuffer(tensor.data.read(0, tensor.data.size), "<u4").byteswap().tobytes()
        out.write(file + struct.pack(">I", zlib.crc32(file)))
