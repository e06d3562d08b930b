"""Puts arrays into nested dicts and lists, at the places that their names tell."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import count, takewhile
from typing import TYPE_CHECKING, Any

from git_theta.errors import CheckpointError
from theta_flax.dtypes import DTYPES
from theta_flax.names import Namer

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_GONE = object()


def fill(content: object, arrays: Mapping[str, Array], known: Collection[str]) -> object:
    """A state dict with its groups replaced, removed and added.

    Parameters
    ----------
    content
        What ``msgpack_restore`` made of a template; dicts and lists are changed in place.
    arrays
        All groups that the checkpoint shall have, by name.
    known
        Names of the template's groups: one that is not in ``arrays`` is removed.

    Raises
    ------
    CheckpointError
        When a group has no place in the template's nesting.
    """
    filling = _Filling(arrays, known)
    content = filling.visit(content)
    for name in (name for name in arrays if name not in filling.placed):
        if not isinstance(content, dict):
            raise CheckpointError(f"Group {name!r} has no place in a file that has no names")
        hang(content, name, arrays[name])
    return content


def nest(arrays: Mapping[str, Array]) -> dict[Any, Any]:
    """Nested dicts of arrays, as their names tell.

    Raises
    ------
    CheckpointError
        When two have one place.
    """
    content: dict[Any, Any] = {}
    for name in sorted(arrays, key=lambda name: name.count(".")):  # "a" before "a.b"
        hang(content, name, arrays[name])
    return content


def hang(tree: dict[Any, Any], name: str, array: Array) -> None:
    """Hang an array into nested dicts: ``a.b`` under ``b`` of ``a``, where that can be.

    Raises
    ------
    CheckpointError
        When something else is at its place.
    """
    key, dot, rest = name.partition(".")
    while dot and isinstance(tree.get(key, {}), dict):
        tree = tree.setdefault(key, {})
        name = rest
        key, dot, rest = name.partition(".")
    if name in tree:
        raise CheckpointError(f"Group {name!r} has no place, something else has its name")
    tree[name] = array


class _Filling:
    def __init__(self, arrays: Mapping[str, Array], known: Collection[str]) -> None:
        self.placed: set[str] = set()
        self._arrays, self._known = arrays, known
        self._namer = Namer()

    def visit(self, value: Any, path: str | None = None) -> Any:
        """The value with its groups replaced, or the mark that a group is gone."""
        import numpy as np

        if isinstance(value, np.ndarray | np.generic):
            return self._replace(value, path or "")
        prefix = "" if path is None else f"{path}."
        if isinstance(value, list):
            parts = [self.visit(part, f"{prefix}{index}") for index, part in enumerate(value)]
            return [part for part in parts if part is not _GONE]
        if isinstance(value, dict):
            items = [(key, self.visit(part, f"{prefix}{key}")) for key, part in value.items()]
            return {key: part for key, part in items if part is not _GONE}
        return value

    def _replace(self, old: Any, path: str) -> Any:
        import numpy as np

        if old.dtype.name not in DTYPES:
            return old
        name = path
        if f"{path}[0]" in self._known:
            if f"{path}[0]" in self._arrays:
                return self._join_pieces(old, path)
        else:
            name = self._namer.name(path)
        if name not in self._arrays:
            return _GONE if name in self._known else old
        self.placed.add(name)
        new = self._arrays[name]
        return new[()] if isinstance(old, np.generic) else new

    def _join_pieces(self, old: Array, path: str) -> Array:
        """An array of more than 1 GiB, which its file has in pieces."""
        import numpy as np

        names = list(takewhile(self._arrays.__contains__, (f"{path}[{n}]" for n in count())))
        self.placed.update(names)
        joined = np.concatenate([self._arrays[name].reshape(-1) for name in names])
        try:
            return joined.reshape(old.shape if joined.size == old.size else (-1, *old.shape[1:]))
        except ValueError as fault:
            raise CheckpointError(
                f"Expected whole rows of {path!r}, whose shape is {list(old.shape)}, "
                f"found {joined.size} elements"
            ) from fault
