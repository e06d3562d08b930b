"""What ``_METADATA`` of an Orbax checkpoint says: how its values are nested, and what they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from git_theta.errors import CheckpointError, LimitExceeded
from git_theta.source import Source

FILE = "_METADATA"
"""Name of the file, in the checkpoint's folder."""

MAX_BYTES = 2**24
"""Bytes of such a file, which is some 60,000 values."""

EMPTY: Mapping[str, Callable[[], object]] = {
    "None": lambda: None,
    "Dict": dict,
    "List": list,
    "Tuple": tuple,
}
"""Values that nothing is stored of, by their kind."""

_SEQUENCE, _DICT = 1, 2  # what a key is of


class Value(NamedTuple):
    """A value, and the keys at which it hangs."""

    keys: tuple[tuple[str, bool], ...]
    """From the top; True: one of a list."""
    kind: str
    """``np.ndarray``, ``jax.Array``, ``scalar``, ``string``, or one of `EMPTY`."""

    @property
    def name(self) -> str:
        """What Orbax calls it."""
        return ".".join(key for key, _ in self.keys)


@dataclass(frozen=True, slots=True)
class Tree:
    """The values of a checkpoint, and how they are stored."""

    values: tuple[Value, ...]
    zarr3: bool
    custom: Any
    """What the user put there; None: nothing."""


def read_tree(file: Source) -> Tree:
    """Read `FILE`.

    Raises
    ------
    CheckpointError
        When it is malformed.
    LimitExceeded
        When it is larger than `MAX_BYTES`.
    """
    if file.size > MAX_BYTES:
        raise LimitExceeded(f"Expected at most {MAX_BYTES} bytes in {FILE}, found {file.size}")
    try:
        found = json.loads(bytes(file.read(0, file.size)))
        values = tuple(map(_read_value, found["tree_metadata"].values()))
        zarr3, custom = bool(found.get("use_zarr3")), found.get("custom_metadata")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as fault:
        raise CheckpointError(f"Expected {FILE} of Orbax: {fault!r:.200}") from fault
    return Tree(values, zarr3, custom)


def nest(tree: Tree, leaf: Callable[[Value], object]) -> object:
    """The values as they are nested.

    Parameters
    ----------
    tree
        What `FILE` says.
    leaf
        Makes the value that hangs at a place.

    Raises
    ------
    CheckpointError
        When a place has a value and others below it, or is a list and a dict.
    """
    top: dict[tuple[str, bool], Any] = {}
    for value in tree.values:
        if not value.keys:
            raise CheckpointError("Expected values with names in the template")
        node = top
        for key in value.keys[:-1]:
            node = node.setdefault(key, {})
            if type(node) is not dict:
                raise CheckpointError(f"Expected nothing below a value, found {value.name!r}")
        if value.keys[-1] in node:
            raise CheckpointError(f"Expected one value at {value.name!r}, found several")
        node[value.keys[-1]] = _Leaf(leaf(value))
    return _close(top)


class _Leaf(NamedTuple):
    value: object


def _close(node: Any) -> object:
    if isinstance(node, _Leaf):
        return node.value
    if len({in_list for _, in_list in node}) > 1:
        raise CheckpointError("Expected a list or a dict in the template, found one that is both")
    if any(in_list for _, in_list in node):
        return [_close(part) for _, part in sorted(node.items(), key=lambda item: int(item[0][0]))]
    return {key: _close(part) for (key, _), part in node.items()}


def _read_value(found: Any) -> Value:
    keys = []
    for part in found["key_metadata"]:
        key, of = part["key"], part["key_type"]
        if type(key) is not str or of not in (_SEQUENCE, _DICT):
            raise ValueError("a key that is neither of a list nor of a dict")
        if of == _SEQUENCE and not (key.isdecimal() and len(key) < 10):
            raise ValueError("an index that is no number")
        keys.append((key, of == _SEQUENCE))
    kind = found["value_metadata"]["value_type"]
    if kind not in (*EMPTY, "np.ndarray", "jax.Array", "scalar", "string"):
        raise ValueError(f"a value of the kind {kind!r:.40}")
    return Value(tuple(keys), kind)
