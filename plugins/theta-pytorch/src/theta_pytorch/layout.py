"""Lays the tensors of a pickle over the file: buffers in file order, groups with unique names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from git_theta.checkpoint import Buffer, Layout, Tensor
from git_theta.dtypes import BITS, scalar_bytes
from theta_pytorch.storages import Storage
from theta_pytorch.tensors import View

Named = list[tuple[str, View]]
"""Tensors with their paths, not unique yet."""


class Parsed(NamedTuple):
    """What a file of PyTorch holds."""

    layout: Layout
    """Its parameter groups and where their bytes lie."""
    roots: list[object]
    """The objects of its pickles, made of stand-ins."""


class Namer:
    """Gives every path a name of its own: the second tensor at ``a`` becomes ``a#2``."""

    def __init__(self) -> None:
        self._latest: dict[str, int] = {}

    def name(self, path: str) -> str:
        """The name for the next tensor at a path; a file that holds but a tensor has none."""
        base = name = path or "tensor"
        while name in self._latest:
            self._latest[base] += 1
            name = f"{base}#{self._latest[base]}"
        self._latest[name] = 1
        return name


def build_layout(
    storages: Iterable[Storage], named: Named, starts: Mapping[str, int], *, big_endian: bool
) -> Layout:
    """The layout of a file.

    Parameters
    ----------
    storages
        All storages that the file tells of.
    named
        The tensors that view them.
    starts
        Where each storage's bytes lie in the file, by key; others' lie nowhere.
    big_endian
        Whether the file has its numbers big-endian.
    """
    dtypes = _choose_dtypes(named)
    placed = sorted(
        (starts[storage.key], storage.nbytes, storage.key, dtypes.get(storage.key, storage.dtype))
        for storage in storages
        if storage.key in starts
    )
    # Untyped storages too: their machine wrote them as they lay in its memory, though a torch on
    # another machine forgets to swap those when it loads them.
    buffers = tuple(
        Buffer(dtype, start, nbytes, big_endian and scalar_bytes(dtype) > 1)
        for start, nbytes, _, dtype in placed
    )
    numbers = {key: number for number, (_, _, key, _) in enumerate(placed)}
    return Layout(buffers, tuple(_list_tensors(named, numbers, buffers)))


def _list_tensors(
    named: Named, numbers: Mapping[str, int], buffers: Sequence[Buffer]
) -> Iterator[Tensor]:
    namer = Namer()
    for path, view in named:
        number = numbers.get(view.storage.key)
        if number is None or not _expressible(view, buffers[number].dtype):
            continue
        _, dtype, shape, offset, strides = view
        if BITS[dtype] < 8:  # F4: torch counts pairs of numbers, safetensors numbers
            shape, offset = (*shape[:-1], 2 * (shape[-1] if shape else 1)), 2 * offset
        yield Tensor(namer.name(path), dtype, shape, number, offset, strides)


def _choose_dtypes(named: Named) -> dict[str, str]:
    """The dtypes of untyped storages: that of the first tensor that fills whole elements."""
    dtypes: dict[str, str] = {}
    for _, (storage, dtype, *_) in named:
        if storage.untyped and storage.nbytes * 8 % BITS[dtype] == 0:
            dtypes.setdefault(storage.key, dtype)
    return dtypes


def _expressible(view: View, dtype: str) -> bool:
    """Whether a view can be told as a group; if not, its bytes are kept, without a name."""
    if BITS[view.dtype] < 8:
        return view.strides is None and dtype == view.dtype
    return BITS[view.dtype] == BITS[dtype] or (view.strides is None and view.offset == 0)
