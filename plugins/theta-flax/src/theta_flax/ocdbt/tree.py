"""Walks the tree of an OCDBT store: all keys of its latest version."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from git_theta.errors import CheckpointError, LimitExceeded
from git_theta.source import Source
from theta_flax.ocdbt.nodes import Child, Leaf, Place, Root, read_node

MAX_KEYS = 2**19
"""Keys of one store."""

MAX_NODES = 2**14
"""Nodes of one store."""

MAX_BYTES = 2**27
"""Bytes of all nodes of one store, unpacked, and of all keys, written out."""

MAX_HEIGHT = 16
"""How many nodes stand above one another."""


def walk(root: Root, open_file: Callable[[str], Source | None]) -> Iterator[Leaf]:
    """All keys of a version, in order.

    Parameters
    ----------
    root
        Where its tree begins.
    open_file
        Opens a file by its path from the store's folder; None where there is none.

    Raises
    ------
    CheckpointError
        When a node is malformed, or its file is missing.
    LimitExceeded
        When the tree has more than the limits of this module.
    """
    if root.height >= MAX_HEIGHT:
        raise LimitExceeded(f"Expected a tree of at most {MAX_HEIGHT} levels, found {root.height}")
    todo = [(Child(b"", root.place), root.height)]
    nodes = keys = nbytes = 0
    while todo:
        (prefix, place), height = todo.pop()
        node = read_node(_open(place, open_file), place, height, prefix)
        nodes, nbytes = nodes + 1, nbytes + node.nbytes
        nbytes += sum(len(leaf.key) for leaf in node.leaves)
        nbytes += sum(len(child.prefix) for child in node.children)
        keys += len(node.leaves) + len(node.children)
        if nodes > MAX_NODES or keys > MAX_KEYS or nbytes > MAX_BYTES:
            raise LimitExceeded(f"Expected a store of at most {MAX_KEYS} keys, found more")
        yield from node.leaves
        todo += [(child, height - 1) for child in reversed(node.children)]


def _open(place: Place, open_file: Callable[[str], Source | None]) -> Source:
    file = open_file(place.path)
    if file is None:
        raise CheckpointError(f"Expected the file {place.path!r} of the store, found none")
    return file
