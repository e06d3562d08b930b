"""What ``torch.save`` wrote before torch 1.6: five pickles in a row, then the raw storages.

The numbers are little-endian whatever machine wrote them: torch swaps on writing, and the header's
word on the machine's byte order is read by nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

from git_theta.checkpoint import Layout
from git_theta.errors import CheckpointError, FormatMismatch, LimitExceeded
from git_theta.formats.interface import CheckpointFormat, ScanContext, TensorData
from git_theta.source import Source
from theta_pytorch.layout import Parsed, build_layout
from theta_pytorch.pickles.machine import MAX_PICKLE, Pickled, load_pickle
from theta_pytorch.pickles.pause import collector_paused
from theta_pytorch.pickles.state import Truncated
from theta_pytorch.storages import Storages
from theta_pytorch.walk import name_tensors

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001

_MAGIC_PICKLE = b"\x8a\x0a" + MAGIC.to_bytes(10, "little") + b"."
_FIRST_READ = 16 * 2**20  # most pickles are smaller, and need not be read twice


class PyTorchLegacy(CheckpointFormat):
    """A checkpoint of ``torch.save`` that is no zip file; it carries no checksums."""

    name = "pytorch-legacy"

    def matches(self, head: bytes, path: str) -> bool:
        """Whether the file begins with the pickled magic number."""
        return head.startswith(b"\x80") and _MAGIC_PICKLE in head[:32]

    def scan(self, file: Source, context: ScanContext) -> Layout:
        """Find the tensors by the path at which they hang in the object."""
        return _parse(file).layout

    def write(
        self, tensors: Mapping[str, TensorData], template: Source | None, out: BinaryIO
    ) -> None:
        """Write by ``torch.save`` in its old format: as the template is nested, or a flat dict."""
        from theta_pytorch.writing import write_with_torch

        parsed = _parse(template) if template else None
        write_with_torch(tensors, template, parsed, out, zipped=False)


def _parse(file: Source) -> Parsed:
    with collector_paused():
        pickled, keys, pos = _read_pickles(file)
        storages = Storages(pickled.persistent)
        starts = _find_storages(file, storages, keys, pos)
        named = name_tensors(pickled.root, storages)
        layout = build_layout(storages.by_key.values(), named, starts, big_endian=False)
        return Parsed(layout, [pickled.root])


def _read_pickles(file: Source) -> tuple[Pickled, object, int]:
    """The object, the storages' keys, and the offset of the first storage."""
    nbytes = min(_FIRST_READ, file.size)
    while True:
        data = bytes(file.read(0, nbytes))
        try:
            magic = load_pickle(data)
            version = load_pickle(data, magic.end)
            if (magic.root, version.root) != (MAGIC, PROTOCOL):
                raise FormatMismatch("Expected the magic number of torch, found another")
            system = load_pickle(data, version.end)
            pickled = load_pickle(data, system.end)
            keys = load_pickle(data, pickled.end)
            return pickled, keys.root, keys.end
        except Truncated:  # where the pickles end, only they tell
            if nbytes == file.size:
                raise
        if nbytes >= MAX_PICKLE:
            raise LimitExceeded(f"Expected pickles of at most {MAX_PICKLE} bytes, found more")
        nbytes = min(4 * nbytes, MAX_PICKLE, file.size)


def _find_storages(file: Source, storages: Storages, keys: object, pos: int) -> dict[str, int]:
    if not isinstance(keys, list):
        raise CheckpointError(f"Expected a list of storages, found a {type(keys).__name__}")
    starts: dict[str, int] = {}
    for key in keys:
        storage = storages.by_key.get(key) if isinstance(key, str) else None
        if storage is None or storage.key in starts:
            raise CheckpointError(f"Expected storages that the object names once, found {key!r}")
        numel = int.from_bytes(file.read(pos, 8), "little", signed=True)
        if numel != storage.numel or pos + 8 + storage.nbytes > file.size:
            raise CheckpointError(
                f"Expected storage {key!r} to have {storage.numel} elements up to byte "
                f"{pos + 8 + storage.nbytes} of {file.size}, found {numel}"
            )
        starts[storage.key] = pos + 8
        pos += 8 + storage.nbytes
    missing = storages.by_key.keys() - starts.keys()
    if missing:
        raise CheckpointError(f"Expected {len(missing)} more storages after byte {pos}, found none")
    return starts
