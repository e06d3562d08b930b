"""Walks the groups of an HDF5 file and lays its datasets over it."""

from __future__ import annotations

from git_theta.checkpoint import Buffer, Layout, Tensor
from git_theta.errors import CheckpointError, LimitExceeded
from git_theta.source import Source
from theta_tensorflow.hdf5.datasets import Dataset, read_dataset
from theta_tensorflow.hdf5.headers import read_messages
from theta_tensorflow.hdf5.links import is_group, read_links
from theta_tensorflow.hdf5.structure import UNDEFINED, Structure, unpack

MAGIC = b"\x89HDF\r\n\x1a\n"
MAX_DEPTH = 64
"""How deep groups may lie in groups."""
MAX_PATH = 4096
"""Characters of a dataset's path."""


def scan_hdf5(file: Source) -> Layout:
    """The parameter groups of an HDF5 file, named by their paths.

    Raises
    ------
    CheckpointError
        When it is malformed, or refers to other files.
    """
    structure = Structure(file)
    datasets = _walk(structure, _find_root(structure))
    places = sorted({(d.start, d.nbytes, d.dtype, d.big_endian) for d in datasets.values()})
    numbers = {place: number for number, place in enumerate(places)}
    buffers = tuple(Buffer(dtype, start, nbytes, big) for start, nbytes, dtype, big in places)
    tensors = (
        Tensor(name, d.dtype, d.shape, numbers[d.start, d.nbytes, d.dtype, d.big_endian])
        for name, d in datasets.items()
    )
    return Layout(buffers, tuple(tensors))


def _find_root(structure: Structure) -> int:
    """The address of the root group's object header."""
    head = structure.read(0, min(96, structure.file.size)).ljust(96, b"\0")
    version = head[8]
    if version in (0, 1):
        widths, at = head[13:15], 24 + 4 * version
        base, _, end, driver, _, root = unpack("QQQQQQ", head, at)
        if driver != UNDEFINED:
            raise CheckpointError("Its data are spread over several files, which are not read")
    elif version in (2, 3):
        widths = head[9:11]
        base, _, end, root = unpack("QQQQ", head, 12)
    else:
        raise CheckpointError(f"Expected a superblock of version 0 to 3, found {version}")
    if widths != b"\x08\x08" or base:
        raise CheckpointError("Expected addresses of 8 bytes that count from the file's start")
    if end > structure.file.size:
        raise CheckpointError(f"Expected {end} bytes, found {structure.file.size}: it is cut short")
    return root


def _walk(structure: Structure, root: int) -> dict[str, Dataset]:
    """All datasets by path; each group is looked into once, under the first of its names."""
    found: dict[str, Dataset] = {}
    known: dict[int, Dataset | None] = {root: None}
    todo = [("", iter(read_links(structure, read_messages(structure, root))))]
    while todo:
        prefix, links = todo[-1]
        link = next(links, None)
        if link is None:
            todo.pop()
            continue
        path = prefix + link.name
        structure.charge(len(path))
        if len(path) > MAX_PATH:
            raise LimitExceeded(f"A path of more than {MAX_PATH} characters")
        if link.address not in known:
            messages = read_messages(structure, link.address)
            known[link.address] = None
            if is_group(messages):
                if len(todo) >= MAX_DEPTH:
                    raise LimitExceeded(f"Groups in groups, more than {MAX_DEPTH} deep")
                todo.append((path + "/", iter(read_links(structure, messages))))
            else:
                known[link.address] = read_dataset(structure, messages)
        dataset = known[link.address]
        if dataset:
            if path in found:
                raise CheckpointError(f"Two datasets are named {path!r}")
            found[path] = dataset
    return found
