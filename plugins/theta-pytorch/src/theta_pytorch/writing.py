"""Writes a checkpoint of a new structure through torch, which is imported here and nowhere else.

A template is loaded with ``weights_only``, after our own reading has bounded it; never by the full
unpickler.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from git_theta.errors import CheckpointError, MissingPluginError
from git_theta.formats.interface import TensorData
from git_theta.source import Source
from theta_pytorch.layout import Parsed
from theta_pytorch.nesting import fill
from theta_pytorch.pickles.stand_ins import Inert, Pairs
from theta_pytorch.storages import DTYPES, LEGACY_DTYPES

if TYPE_CHECKING:
    import torch

INSTALL = "pip install 'git-theta[pytorch]'"

SAFE_TORCH = (2, 10)
"""The first torch whose weights_only has no known hole (CVE-2025-32434, CVE-2026-24747)."""


def write_with_torch(
    tensors: Mapping[str, TensorData],
    template: Source | None,
    parsed: Parsed | None,
    out: BinaryIO,
    *,
    zipped: bool = True,
) -> None:
    """Write parameter groups by ``torch.save``.

    Parameters
    ----------
    tensors
        The groups by name.
    template
        A checkpoint whose nesting and other content is kept; None: a flat dict is written.
    parsed
        What our own reading found in the template.
    out
        Where to write.
    zipped
        Whether to write torch's zip format, or the one before it.

    Raises
    ------
    MissingPluginError
        When torch is not installed, or too old to read a template safely.
    CheckpointError
        When torch cannot read the template safely, or cannot hold a group.
    """
    try:
        import torch
    except ImportError as fault:
        raise MissingPluginError("Writing a checkpoint anew needs torch", remedy=INSTALL) from fault
    if not zipped:
        _check_typed(tensors)
    made = {name: _make_tensor(torch, name, group) for name, group in tensors.items()}
    content: Any = made
    if template is not None and parsed is not None:
        content = fill(_load(torch, template, parsed), made, parsed.layout)
    torch.save(content, out, _use_new_zipfile_serialization=zipped)


def _check_typed(tensors: Mapping[str, TensorData]) -> None:
    """Refuse what torch writes into its old format and then fails to load."""
    for name, group in tensors.items():
        if group.dtype not in LEGACY_DTYPES:
            raise CheckpointError(
                f"Group {name!r} is {group.dtype}, which torch's old format cannot hold",
                remedy="Save the checkpoint as a zip file, torch's format since 1.6",
            )


def _make_tensor(torch: Any, name: str, group: TensorData) -> torch.Tensor:
    dtypes = {ours: getattr(torch, theirs, None) for theirs, ours in DTYPES.items()}
    dtype, shape = dtypes.get(group.dtype), group.shape
    if dtype is None:
        raise CheckpointError(f"Group {name!r} is {group.dtype}, which this torch does not have")
    if group.dtype == "F4":  # torch counts pairs
        if not shape or shape[-1] % 2:
            raise CheckpointError(f"Group {name!r} is F4 of shape {list(shape)}, expected pairs")
        shape = (*shape[:-1], shape[-1] // 2)
    raw = torch.empty(group.data.size, dtype=torch.uint8)
    view, pos = memoryview(raw.numpy()), 0
    for block in group.data.blocks():
        view[pos : pos + len(block)] = block
        pos += len(block)
    return raw.view(dtype).reshape(shape)


def _load(torch: Any, template: Source, parsed: Parsed) -> object:
    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if version < SAFE_TORCH:
        raise MissingPluginError(
            f"torch {torch.__version__} cannot read a template safely, expected "
            f"{'.'.join(map(str, SAFE_TORCH))} or later",
            remedy=INSTALL,
        )
    _check_keys(parsed.roots)
    try:
        return torch.load(
            io.BufferedReader(_SourceFile(template)), map_location="cpu", weights_only=True
        )
    except Exception as fault:  # whatever torch says about a file that it refuses
        raise CheckpointError(
            f"torch does not read this checkpoint without running code from it: {fault}",
            remedy="Save a state dict, which holds nothing but tensors and numbers",
        ) from fault


def _check_keys(roots: list[object]) -> None:
    """Refuse containers as dict keys: torch hashes them, which nesting makes exponential."""
    todo, seen = list(roots), {}
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, Inert):
            todo += (value.type, value.args, value.state, value.items, value.pairs)
        elif isinstance(value, list | tuple):
            todo += value
        keys = value[::2] if isinstance(value, Pairs) else ()
        if any(isinstance(key, tuple | list | Inert) for key in keys):
            raise CheckpointError("Expected dict keys that are strings or numbers, found others")


class _SourceFile(io.RawIOBase):
    """A source as a file that torch can read."""

    def __init__(self, source: Source) -> None:
        self._source, self._pos = source, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._pos, io.SEEK_END: self._source.size}[whence]
        self._pos = base + offset
        return self._pos

    def readinto(self, buffer: Any) -> int:
        nbytes = max(0, min(len(buffer), self._source.size - self._pos))
        buffer[:nbytes] = self._source.read(self._pos, nbytes)
        self._pos += nbytes
        return nbytes
