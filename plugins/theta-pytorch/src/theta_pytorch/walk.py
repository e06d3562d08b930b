"""Names: where each tensor hangs in the pickled object, as a path joined by dots."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from git_theta.errors import LimitExceeded
from theta_pytorch.children import Children, list_attributes, list_children, unwrap
from theta_pytorch.pickles.stand_ins import Inert, Pairs
from theta_pytorch.storages import Storages
from theta_pytorch.tensors import View, read_tensor

MAX_DEPTH = 1000
"""How deep containers may hold containers."""

MAX_NAME = 1024
"""Characters of the longest path."""

MAX_TENSORS = 2**19
"""Tensors of one file."""

MAX_CHARACTERS = 2**25
"""Characters of all names of one file."""

MAX_CONTAINERS = 2**20
"""Containers that are walked in one file."""

_CONTAINERS = (Inert, Pairs, list, tuple)
_MAX_WRAPPERS = 4
_END: tuple[None, object] = (None, object())


def name_tensors(root: object, storages: Storages, prefix: str = "") -> list[tuple[str, View]]:
    """All tensors that can be reached from an object, each with its path.

    A tensor that hangs in two places is named twice, a container that does is walked once. Two
    tensors may have one path; making names unique is the caller's.

    Parameters
    ----------
    root
        The object, made of stand-ins; it may contain itself.
    storages
        The storages of its pickle.
    prefix
        Path of the object itself.

    Raises
    ------
    CheckpointError
        When a tensor is not inside its storage.
    LimitExceeded
        When the object is deeper, or has more or longer names, than the limits of this module.
    """
    found: list[tuple[str, View]] = []
    characters = 0
    for path, view in _walk(root, storages, prefix):
        characters += len(path)
        if len(found) >= MAX_TENSORS or characters > MAX_CHARACTERS:
            raise LimitExceeded(f"Expected at most {MAX_TENSORS} tensors, found more")
        found.append((path, view))
    return found


def _walk(root: object, storages: Storages, prefix: str) -> Iterator[tuple[str, View]]:
    # keeps what it has seen alive, so that no id comes back
    seen: dict[int, tuple[object, View | None]] = {}
    levels: list[tuple[str, Children]] = [(prefix, iter(((None, root),)))]
    while levels:
        outer, siblings = levels[-1]
        key, value = next(siblings, _END)
        if value is _END[1]:
            levels.pop()
            continue
        if type(value) not in _CONTAINERS:
            continue
        path = _join(outer, key)
        known = seen.get(id(value))
        view, children = (known[1], None) if known else _open(value, storages)
        if view:
            yield path, view
        if not known:
            seen[id(value)] = (value, view)
        if children:
            levels.append((path, children))
        if len(levels) > MAX_DEPTH or len(seen) > MAX_CONTAINERS:
            raise LimitExceeded(
                f"Expected at most {MAX_CONTAINERS} containers, {MAX_DEPTH} deep, found more"
            )


def _join(path: str, key: str | None) -> str:
    if key is None:
        return path
    joined = f"{path}.{key}" if path else key
    if len(joined) > MAX_NAME:
        raise LimitExceeded(f"Expected names of at most {MAX_NAME} characters, found more")
    return joined


def _open(value: object, storages: Storages) -> tuple[View | None, Children | None]:
    """The tensor that a value is, if any, and the parts to go on with, if any."""
    if not isinstance(value, Inert):
        return None, list_children(value)
    inner: object = value
    added: list[Children] = []
    while isinstance(inner, Inert) and len(added) < _MAX_WRAPPERS:
        if view := read_tensor(inner, storages):
            return view, chain(*added, list_attributes(inner)) if added or inner.state else None
        inside = unwrap(inner)
        if inside is None:
            break
        added.append(chain(((None, inside[1]),), list_attributes(inner)))
        inner = inside[0]
    return None, chain(((None, inner),), *added) if added else list_children(value)
