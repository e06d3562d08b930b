"""The zip files of PyTorch: ``torch.save`` and ``torch.jit.save`` write them alike.

All records lie in one folder, here called the root: ``data.pkl`` holds the object, ``data/0`` and
so on the storages; TorchScript adds ``constants.pkl``, ``constants/0`` and code.
"""

from __future__ import annotations

from dataclasses import dataclass

from git_theta.errors import CheckpointError, FormatMismatch, LimitExceeded
from git_theta.formats.zip_directory import Entry, read_entries
from git_theta.source import Source
from theta_pytorch.layout import Named, Parsed, build_layout
from theta_pytorch.pickles.machine import MAX_PICKLE, load_pickle
from theta_pytorch.storages import Storage, Storages
from theta_pytorch.walk import name_tensors

PICKLE = "data.pkl"
CONSTANTS = "constants.pkl"


@dataclass(frozen=True, slots=True)
class Archive:
    """A PyTorch zip file whose directory was read."""

    file: Source
    """The whole file."""
    root: str
    """What the names of all records begin with, with its slash."""
    entries: dict[str, Entry]
    """The entries by name."""

    def read(self, record: str, limit: int) -> bytes | None:
        """The content of a record of at most ``limit`` bytes; None where there is none.

        Raises
        ------
        CheckpointError
            When the record is compressed, which torch never does.
        LimitExceeded
            When it is longer.
        """
        entry = self.entries.get(self.root + record)
        if entry is None:
            return None
        if not entry.stored:
            raise CheckpointError(f"Expected {entry.name!r} as it is, found it compressed")
        if entry.nbytes > limit:
            raise LimitExceeded(f"Expected {entry.name!r} in {limit} bytes, found {entry.nbytes}")
        return bytes(self.file.read(entry.start, entry.nbytes))


def open_archive(file: Source) -> Archive:
    """Read the directory of a PyTorch zip file.

    Raises
    ------
    FormatMismatch
        When the file is no zip, or not one of PyTorch's.
    CheckpointError
        When its directory is malformed.
    """
    entries = {entry.name: entry for entry in read_entries(file)}
    roots = [name for name in entries if name.endswith("/" + PICKLE) and name.count("/") == 1]
    if len(roots) != 1 or not entries[roots[0]].stored:
        raise FormatMismatch(f"Expected one */{PICKLE} in the zip file, found {len(roots)}")
    return Archive(file, roots[0].removesuffix(PICKLE), entries)


def is_torchscript(archive: Archive) -> bool:
    """Whether the archive is a TorchScript program; torch tells by the same record."""
    return archive.root + CONSTANTS in archive.entries


def parse_archive(archive: Archive, folders: dict[str, str]) -> Parsed:
    """Read the pickles of an archive and find its parameter groups.

    Parameters
    ----------
    archive
        The archive.
    folders
        The folder of each pickle's storages, by the pickle's record.

    Raises
    ------
    CheckpointError
        When a pickle is malformed, or contradicts the storages.
    """
    big_endian = archive.read("byteorder", 64) == b"big"
    starts: dict[str, int] = {}
    found: list[Storage] = []
    named: Named = []
    roots: list[object] = []
    for record, folder in folders.items():
        data = archive.read(record, MAX_PICKLE)
        if data is None:
            continue
        pickled = load_pickle(data)
        storages = Storages(pickled.persistent, folder)
        roots.append(pickled.root)
        prefix = "" if record == PICKLE else record.removesuffix(".pkl")
        named += name_tensors(pickled.root, storages, prefix)
        found += storages.by_key.values()
    for storage in found:
        _find_storage(archive, storage, starts)
    return Parsed(build_layout(found, named, starts, big_endian=big_endian), roots)


def _find_storage(archive: Archive, storage: Storage, starts: dict[str, int]) -> None:
    entry = archive.entries.get(archive.root + storage.key)
    if entry is None:
        if storage.meta:
            return
        raise CheckpointError(f"Expected the record {archive.root + storage.key!r}, found none")
    if not entry.stored:
        return
    if storage.nbytes > entry.nbytes:
        raise CheckpointError(
            f"Storage {storage.key!r} claims {storage.nbytes} bytes, its record has {entry.nbytes}"
        )
    starts[storage.key] = entry.start
