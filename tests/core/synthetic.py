"""A format whose files say how they are laid out: for layouts that no real format has."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blake3 import blake3

from git_theta.checkpoint import Buffer, Layout, Tensor
from git_theta.clean import Cleaning, clean
from git_theta.formats.interface import CheckpointFormat
from git_theta.hookspecs import hookimpl
from git_theta.metadata import parse
from git_theta.plugins import Plugin, Plugins
from git_theta.smudge import content, rebuild
from git_theta.source import BytesSource, Source
from git_theta.storage.local import LocalStore

MAGIC = b"SYNTHETIC"

Raw = tuple[str, bytes, bool, bytes]
Packed = tuple[str, bytes, bool, bytes, int]


class Synthetic(CheckpointFormat):
    """The magic, the length of a header in 8 bytes, the layout as JSON, the bytes."""

    name = "synthetic"

    def matches(self, head: bytes, path: str) -> bool:
        return head.startswith(MAGIC)

    def scan(self, file: Source, context: Any) -> Layout:
        start = len(MAGIC) + 8
        nbytes = int.from_bytes(file.read(len(MAGIC), 8), "little")
        buffers, tensors = json.loads(bytes(file.read(start, nbytes)))
        return Layout(
            tuple(
                Buffer(d, start + nbytes + at, n, big, "zstd" if decoded else "", *decoded)
                for d, at, n, big, *decoded in buffers
            ),
            tuple(
                Tensor(name, dtype, tuple(shape), buffer, offset, strides and tuple(strides))
                for name, dtype, shape, buffer, offset, strides in tensors
            ),
        )


class _Module:
    @staticmethod
    @hookimpl
    def theta_checkpoint_formats() -> list[CheckpointFormat]:
        return [Synthetic()]


def plugins() -> Plugins:
    """The builtins and the synthetic format."""
    found = Plugins()
    found.register(_Module, Plugin("synthetic", "theta-synthetic", "1.0"))
    return found


def synthetic_file(
    buffers: Sequence[Raw | Packed],
    tensors: Sequence[tuple[str, str, Sequence[int], int, int, Sequence[int] | None]],
    end: bytes = b"",
) -> bytes:
    """A file of buffers (dtype, bytes before it, whether big-endian, its bytes) and of tensors.

    A buffer whose bytes are a frame of zstd also has how many it decompresses to. A tensor is its
    name, dtype, shape, buffer, offset and strides.
    """
    rows, body = [], b""
    for dtype, before, big, data, *decoded in buffers:
        body += before
        rows.append([dtype, len(body), len(data), big, *decoded])
        body += data
    header = json.dumps([rows, [list(tensor) for tensor in tensors]]).encode()
    return MAGIC + len(header).to_bytes(8, "little") + header + body + end


def clean_file(
    data: bytes | Source,
    store: LocalStore,
    *,
    previous: bytes | None = None,
    versions: Sequence[bytes] = (),
    write: bool = True,
    path: str = "model.bin",
    known: Plugins | None = None,
) -> bytes:
    """The metadata of a file, stored on the way."""
    source = BytesSource(data) if isinstance(data, bytes) else data
    hasher = blake3()
    for block in source.blocks():
        hasher.update(block)
    cleaned = clean(
        Cleaning(
            source,
            path,
            hasher.digest(),
            store=store,
            plugins=known or plugins(),
            versions=[previous] if previous else versions,
            write=write,
        )
    )
    assert not cleaned.warning
    return cleaned.text


def rebuild_file(text: bytes, store: LocalStore, *, path: str = "model.bin") -> bytes:
    """The file that metadata describes, without its format."""
    rebuilt = rebuild(parse(text, path), path, store=store, plugins=Plugins())
    return b"".join(map(bytes, content(rebuilt)))


def pack_names(folder: Path) -> set[str]:
    """Names of the packs of a store."""
    return {path.name for path in (folder / "objects").iterdir() if path.is_file()}
