"""Puts tensors into a loaded checkpoint, at the places that their names tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from git_theta.checkpoint import Layout
from git_theta.errors import CheckpointError
from theta_pytorch.layout import Namer

if TYPE_CHECKING:
    import torch


_GONE = object()


def fill(content: object, tensors: Mapping[str, torch.Tensor], layout: Layout) -> object:
    """A checkpoint with its groups replaced, removed and added.

    Parameters
    ----------
    content
        What ``torch.load`` made of a template; dicts and lists are changed in place.
    tensors
        All groups that the checkpoint shall have, by name.
    layout
        The template's layout: a group of it that is not in ``tensors`` is removed.

    Raises
    ------
    CheckpointError
        When a group has no place in the template's nesting.
    """
    filling = _Filling(tensors, {tensor.name for tensor in layout.tensors})
    try:
        content = filling.visit(content, "")
    except RecursionError as fault:
        raise CheckpointError("Checkpoint is nested too deep to be written anew") from fault
    for name in tensors:
        if name not in filling.placed:
            filling.add(name)
    return content


class _Filling:
    def __init__(self, tensors: Mapping[str, torch.Tensor], known: set[str]) -> None:
        self.placed: set[str] = set()
        self._tensors, self._known = tensors, known
        self._namer = Namer()
        self._dicts: dict[str, dict[Any, Any]] = {}
        self._seen: dict[int, object] = {}
        self._tied: dict[object, torch.Tensor] = {}

    def visit(self, value: Any, path: str) -> Any:
        """The value with its groups replaced, or the mark that a group is gone."""
        import torch

        if isinstance(value, torch.Tensor):
            return self._replace(value, path)
        if type(value) is tuple:
            parts = [self.visit(part, _join(path, key)) for key, part in enumerate(value)]
            return tuple(part for part in parts if part is not _GONE)
        if id(value) in self._seen or not isinstance(value, dict | list):
            return value
        self._seen[id(value)] = value
        if isinstance(value, list):
            parts = [self.visit(part, _join(path, key)) for key, part in enumerate(value)]
            value[:] = [part for part in parts if part is not _GONE]
            return value
        self._dicts.setdefault(path, value)
        for key in list(value):
            part = self.visit(value[key], _join(path, key))
            if part is _GONE:
                del value[key]
            else:
                value[key] = part
        return value

    def add(self, name: str) -> None:
        """Hang a new group into the innermost dict of strings that its name leads to."""
        path, key = name, ""
        while path:
            path, _, last = path.rpartition(".")
            key = f"{last}.{key}" if key else last
            found = self._dicts.get(path)
            if found is not None and all(isinstance(known, str) for known in found):
                found[key] = self._tensors[name]
                return
        raise CheckpointError(
            f"Group {name!r} has no place in the template, expected a dict to put it into"
        )

    def _replace(self, old: torch.Tensor, path: str) -> Any:
        import torch

        if old.layout is not torch.strided or old.is_quantized:
            raise CheckpointError(f"{path!r} is sparse or quantized, which cannot be written anew")
        if (path or "tensor") not in self._known:
            return old
        name = self._namer.name(path)
        if name not in self._tensors:
            return _GONE
        self.placed.add(name)
        new = self._tie(old, self._tensors[name])
        if isinstance(old, torch.nn.Parameter):
            return torch.nn.Parameter(new, requires_grad=old.requires_grad)
        return new

    def _tie(self, old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """The new tensor, or an equal one where the old ones shared their storage."""
        import torch

        where = (old.data_ptr(), old.dtype, old.shape, old.stride(), new.dtype, new.shape)
        first = self._tied.setdefault(where, new)
        same = first is new or torch.equal(_raw(first), _raw(new))
        return first if same else new


def _raw(tensor: torch.Tensor) -> torch.Tensor:
    import torch

    return tensor.reshape(-1).view(torch.uint8)


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)
