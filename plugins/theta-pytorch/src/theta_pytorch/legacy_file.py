"""Reads what ``torch.save`` wrote before torch 1.6: its five pickles, and where storages lie."""

from __future__ import annotations

from git_theta.errors import CheckpointError, FormatMismatch, LimitExceeded
from git_theta.source import Source
from theta_pytorch.layout import Parsed, build_layout
from theta_pytorch.legacy import MAGIC, PROTOCOL
from theta_pytorch.pickles.machine import MAX_PICKLE, Pickled, load_pickle
from theta_pytorch.pickles.pause import collector_paused
from theta_pytorch.pickles.state import Truncated
from theta_pytorch.storages import Storages
from theta_pytorch.walk import name_tensors

_FIRST_READ = 16 * 2**20  # most pickles are smaller, and need not be read twice


def parse_legacy(file: Source) -> Parsed:
    """Read the pickles of a file and find its parameter groups.

    Raises
    ------
    FormatMismatch
        When the file is none of ``torch.save``.
    CheckpointError
        When a pickle is malformed, or contradicts the storages.
    LimitExceeded
        When the pickles are longer than any that are read.
    """
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
