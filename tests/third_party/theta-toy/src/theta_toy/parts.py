"""Toy checkpoints of two files: ``NAME.toyd`` has numbers, ``NAME.toyi`` beside it what they are.

The index is text, a line a group: name, count of F32 numbers, and their CRC-32.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from git_theta.checkpoint import Buffer, Layout, Tensor
from git_theta.errors import CheckpointError
from git_theta.formats.interface import CheckpointFormat, ScanContext, TensorData
from git_theta.source import BytesSource, Source

MAX_INDEX = 2**20


class ToyParts(CheckpointFormat):
    """The file with the numbers; the index has no groups, so it is stored as it is."""

    name = "toy-parts"

    def matches(self, head: bytes, path: str) -> bool:
        """Numbers have no magic, so the name has to do."""
        return path.endswith(".toyd")

    def scan(self, file: Source, context: ScanContext) -> Layout:
        """Lay the groups that the index names one after the other."""
        buffers: list[Buffer] = []
        tensors: list[Tensor] = []
        at = 0
        for name, count, _ in _read_index(context):
            tensors.append(Tensor(name, "F32", (count,), len(buffers)))
            buffers.append(Buffer("F32", at, 4 * count))
            at += 4 * count
        if at != file.size:
            raise CheckpointError(f"Expected {at} bytes, as the index says, found {file.size}")
        return Layout(tuple(buffers), tuple(tensors))

    def splice_beside(
        self,
        template: Source,
        layout: Layout,
        changed: Mapping[int, Source],
        context: ScanContext,
    ) -> Mapping[str, Source]:
        """The index with other checksums."""
        lines = [
            f"{name} {count} {_crc(changed[n]) if n in changed else crc:08x}\n"
            for n, (name, count, crc) in enumerate(_read_index(context))
        ]
        return {_index_of(context.path): BytesSource("".join(lines).encode())}

    def folders(self, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """Every folder that holds an index."""
        found = {name.rpartition("/")[0] for name in names if name.endswith(".toyi")}
        return dict.fromkeys(found, ("*.toyi", "*.toyd"))

    def write_to(
        self,
        tensors: Mapping[str, TensorData],
        template: Source | None,
        path: Path,
        context: ScanContext,
    ) -> None:
        """Write both files."""
        lines = []
        with path.open("wb") as out:
            for name, tensor in tensors.items():
                data = tensor.data.read(0, tensor.data.size)
                lines.append(f"{name} {len(data) // 4} {zlib.crc32(data):08x}\n")
                out.write(data)
        path.with_suffix(".toyi").write_text("".join(lines))


def _index_of(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".toyd") + ".toyi"


def _read_index(context: ScanContext) -> list[tuple[str, int, int]]:
    name = _index_of(context.path)
    index = context.sibling(name)
    if index is None or index.size > MAX_INDEX:
        raise CheckpointError(f"Expected {name} beside it, which says what the numbers are")
    try:
        lines = str(index.read(0, index.size), "ascii").splitlines()
        rows = [line.split(" ") for line in lines]
        return [(name, int(count), int(crc, 16)) for name, count, crc in rows]
    except ValueError as fault:
        raise CheckpointError(f"Expected lines of name, count and CRC in {name}") from fault


def _crc(source: Source) -> int:
    crc = 0
    for block in source.blocks():
        crc = zlib.crc32(block, crc)
    return crc
