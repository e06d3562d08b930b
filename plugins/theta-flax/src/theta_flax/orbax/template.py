"""Reads what a checkpoint of a new structure keeps of its template, and what it replaces."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

from git_theta.errors import CheckpointError, LimitExceeded
from git_theta.source import Source
from theta_flax.ocdbt.format import MAX_METADATA
from theta_flax.orbax.kept import Described, read_kept
from theta_flax.orbax.stored import Opener, Stored, list_chunks
from theta_flax.orbax.tree import EMPTY, FILE, Tree, Value, nest, read_tree
from theta_flax.zarr.chunks import MAX_CHUNKS
from theta_flax.zarr.metadata import FILES, parse_metadata, read_bounded

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

MAX_KEPT = 2**30
"""Bytes of the arrays that are kept: several may claim the same ones."""

_TEXTS = "_strings.json"
_MAX_TEXTS = 2**24  # bytes


class Template:
    """A checkpoint whose nesting, texts, and arrays that are no groups are kept."""

    def __init__(self, open_file: Opener, stored: Stored) -> None:
        metadata = open_file(FILE)
        if metadata is None:
            raise CheckpointError(f"Expected {FILE} in the template, found none")
        self.tree: Tree = read_tree(metadata)
        self.known: set[str] = set()
        """Names of arrays that are groups, or several."""
        self._stored = stored
        self._metadata = self._kept = 0  # bytes read so far
        self._texts = _read_texts(open_file)
        self._arrays = {
            value.name: self._describe(value.name)
            for value in self.tree.values
            if value.kind != "string" and value.kind not in EMPTY
        }
        self.compressed = any(array.said.coding for array in self._arrays.values())
        """Whether Orbax compressed it."""
        if sum(prod(_grid(array)) for array in self._arrays.values()) > MAX_CHUNKS:
            raise LimitExceeded(f"Expected at most {MAX_CHUNKS} chunks in the template, found more")
        for name, array in self._arrays.items():
            parts = list_chunks(name, array.said)
            if not array.said.packed and any(stored.shown(key) for _, key in parts):
                self.known.add(name)

    def join(self, arrays: dict[str, Array]) -> None:
        """Join the groups that are pieces of one array, which is then written whole.

        Raises
        ------
        CheckpointError
            When there are some of its pieces, or they do not fit together.
        """
        for name in sorted(self.known - set(arrays)):
            counts = _grid(self._arrays[name])
            pieces = [
                f"{name}[{','.join(map(str, where))}]" for where in product(*map(range, counts))
            ]
            found = [piece for piece in pieces if piece in arrays]
            if not found:
                continue
            if len(found) < len(pieces):
                raise CheckpointError(
                    f"Expected all {len(pieces)} pieces of {name!r}, found {len(found)}"
                )
            arrays[name] = _join(iter([arrays.pop(piece) for piece in pieces]), counts, name)

    def nest(self, replaced: Mapping[str, Array]) -> object:
        """All values as they are nested; of arrays that are replaced, just a stand-in."""
        import numpy as np

        def leaf(value: Value) -> object:
            if value.kind in EMPTY:
                return EMPTY[value.kind]()
            if value.kind == "string":
                return self._texts.get(value.name, "")
            if value.name in replaced or value.name in self.known:
                array = np.zeros((), np.uint8)
            else:
                array = self._keep(self._arrays[value.name])
            return array[()] if value.kind == "scalar" else array

        return nest(self.tree, leaf)

    def _keep(self, array: Described) -> Array:
        self._kept += prod(_grid(array)) * array.said.nbytes
        if self._kept > MAX_KEPT:
            raise LimitExceeded(f"Expected at most {MAX_KEPT} bytes in {array.name!r} and others")
        return read_kept(array, self._stored)

    def _describe(self, name: str) -> Described:
        file = FILES[self.tree.zarr3]
        found = self._stored.read(f"{name}/{file}")
        if found is None:
            raise CheckpointError(f"Expected {file} of {name!r} in the template, found none")
        text = read_bounded(found, file)
        self._metadata += len(text)
        if self._metadata > MAX_METADATA:
            raise LimitExceeded(f"Expected metadata of {MAX_METADATA} bytes, found more")
        return Described(name, parse_metadata(file, text), text)


def _grid(array: Described) -> list[int]:
    """How many chunks an array is cut into, by dimension."""
    said = array.said
    return [-(-extent // part) for extent, part in zip(said.shape, said.chunk, strict=True)]


def _join(pieces: Iterator[Array], counts: list[int], name: str, axis: int = 0) -> Array:
    import numpy as np

    if axis == len(counts):
        return next(pieces)
    parts = [_join(pieces, counts, name, axis + 1) for _ in range(counts[axis])]
    try:
        return np.concatenate(parts, axis)
    except ValueError as fault:
        raise CheckpointError(f"Expected pieces of {name!r} that fit together: {fault}") from fault


def _read_texts(open_file: Opener) -> Mapping[str, str]:
    file: Source | None = open_file(_TEXTS)
    if file is None:
        return {}
    if file.size > _MAX_TEXTS:
        raise LimitExceeded(f"Expected at most {_MAX_TEXTS} bytes in {_TEXTS}, found {file.size}")
    data = bytes(file.read(0, file.size))
    try:
        return {str(name): str(text) for name, text in json.loads(data).items()}
    except (ValueError, AttributeError, RecursionError) as fault:
        raise CheckpointError(f"Expected texts in {_TEXTS}: {fault!r:.200}") from fault
