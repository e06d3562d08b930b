"""What is stored of the arrays of an Orbax checkpoint, whichever of its files is at hand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product

from git_theta.errors import CheckpointError
from git_theta.formats.interface import ScanContext
from git_theta.source import BytesSource, Source
from theta_flax.ocdbt.nodes import MANIFEST_FILE, Leaf, read_manifest
from theta_flax.ocdbt.tree import walk
from theta_flax.orbax.tree import FILE
from theta_flax.zarr.metadata import ZarrArray

Opener = Callable[[str], Source | None]
"""Opens a file of a checkpoint by its path there; None: there is none."""

_DEPTH = 12  # folders between a checkpoint's and a file of it: those of a chunk in zarr 3


class Stored(ABC):
    """The keys of arrays' metadata and chunks, with their values."""

    @abstractmethod
    def read(self, key: str) -> Source | None:
        """The value of a key; None: there is none."""

    @abstractmethod
    def shown(self, key: str) -> bool:
        """Whether numbers stored at a key lie raw in a file, where they make a group."""


class InFiles(Stored):
    """Each value is a file."""

    def __init__(self, open_file: Opener) -> None:
        self._open = open_file

    def read(self, key: str) -> Source | None:
        """A file of the checkpoint."""
        return self._open(key)

    def shown(self, key: str) -> bool:
        """Whether there is such a file."""
        return self.read(key) is not None


class InOcdbt(Stored):
    """Values lie in the files of a store, small ones in its nodes."""

    def __init__(self, open_file: Opener) -> None:
        manifest = open_file(MANIFEST_FILE)
        if manifest is None:
            raise CheckpointError(f"Expected {MANIFEST_FILE} beside {FILE} of the template")
        self._open = open_file
        leaves = walk(read_manifest(manifest), open_file)
        self._leaves: dict[str, Leaf] = {str(leaf.key, "utf-8", "replace"): leaf for leaf in leaves}

    def read(self, key: str) -> Source | None:
        """Part of a file, or what a node has."""
        leaf = self._leaves.get(key)
        if leaf is None:
            return None
        if leaf.place is None:
            return BytesSource(leaf.value or b"")
        file = self._open(leaf.place.path)
        if file is None:
            raise CheckpointError(f"Expected the file {leaf.place.path!r} of the store, found none")
        return file.window(leaf.place.start, leaf.place.nbytes)

    def shown(self, key: str) -> bool:
        """Whether the value lies outside the nodes."""
        leaf = self._leaves.get(key)
        return leaf is not None and leaf.place is not None


def open_checkpoint(template: Source, context: ScanContext) -> Opener:
    """Opens the files of the checkpoint that a file is of, by their paths in its folder.

    Raises
    ------
    CheckpointError
        When the file lies in no checkpoint of Orbax's.
    """
    parts = context.path.split("/")
    for depth in range(1, min(len(parts), _DEPTH + 1)):
        if context.sibling("../" * depth + FILE) is not None:
            break
    else:
        raise CheckpointError(
            f"Expected a template that is of an Orbax checkpoint, found no {FILE} above it",
            remedy="Add the files of a checkpoint together",
        )
    own = "/".join(parts[-depth - 1 :])

    @cache
    def open_file(path: str) -> Source | None:
        return template if path == own else context.sibling("../" * depth + path)

    return open_file


def list_chunks(array: str, said: ZarrArray) -> Iterator[tuple[tuple[int, ...], str]]:
    """The stored parts of an array: which one each is, by dimension, and its key."""
    counts = [-(-extent // part) for extent, part in zip(said.shape, said.stored, strict=True)]
    for where in product(*map(range, counts)):
        numbers = said.separator.join(map(str, where))
        names = (numbers or "0", f"c{said.separator}{numbers}" if where else "c")
        yield where, f"{array}/{next(name for name in names if said.key.fullmatch(name))}"
