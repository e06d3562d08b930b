"""Tensors: which of the inert records of a pickle torch would turn into tensors, and how."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple, cast

from git_theta.errors import CheckpointError
from theta_pytorch.pickles.stand_ins import Global, Inert
from theta_pytorch.storages import DTYPES, ITEMSIZES, Storage, Storages

MAX_REPEATED = 2**24
"""Elements of the longest view that has more of them than its storage (expanded, stride 0)."""

MAX_DIMENSIONS = 64
"""Dimensions of a tensor."""


class View(NamedTuple):
    """A tensor as a view of a storage, counted in elements as torch does."""

    storage: Storage
    """The storage."""
    dtype: str
    """safetensors' name of the tensor's dtype."""
    shape: tuple[int, ...]
    """Elements by dimension; two F4 numbers are one element."""
    offset: int
    """The first element."""
    strides: tuple[int, ...] | None
    """Elements to step by dimension; None: contiguous."""


def read_tensor(record: Inert, storages: Storages) -> View | None:
    """The tensor that torch would build from a record.

    Returns
    -------
    View or None
        None where it would build something else, or one whose numbers do not lie in the file as
        they are: quantized, conjugated, without bytes.

    Raises
    ------
    CheckpointError
        When the tensor is not inside its storage.
    """
    function, args = record.type, record.args
    if not isinstance(function, Global) or function.module != "torch._utils":
        return None
    if type(args) is not tuple or len(args) < 4 or not (found := storages.find(args[0])):
        return None
    storage, base = found
    dtype: str | None
    if function.name == "_rebuild_tensor_v2" or function.name == "_rebuild_tensor":
        dtype, metadata = (storage.dtype if storage.typed else None), args[6:]
    elif function.name == "_rebuild_tensor_v3" and len(args) > 6:
        dtype, metadata = _read_dtype(args[6]), args[7:]
    else:
        return None
    if dtype is None or storage.meta or any(metadata):  # bits: conjugated, negated
        return None
    return _check_view(storage, dtype, args[1:4], base)


def _read_dtype(named: object) -> str | None:
    return DTYPES.get(named.name) if isinstance(named, Global) else None


def _check_view(storage: Storage, dtype: str, view: tuple[object, ...], base: int) -> View | None:
    shape, strides = _read_sizes(view[1]), _read_sizes(view[2])
    _check_numbers((view[0], *shape, *strides))
    offset = base + cast(int, view[0])
    if len(shape) != len(strides) or offset < 0:
        raise CheckpointError(
            f"Tensor of shape {list(shape)} has strides {list(strides)} and offset {offset}"
        )
    if 0 in shape:
        return View(storage, dtype, shape, 0, None)
    span = count = prod(shape)
    steps = None if _contiguous(shape, strides) else strides
    if steps is not None:
        span = 1 + sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
    end = (offset + span) * ITEMSIZES[dtype]
    if end > storage.nbytes:
        raise CheckpointError(
            f"Tensor of shape {list(shape)} ends at byte {end} of storage {storage.key!r}, "
            f"which has {storage.nbytes}"
        )
    if count > MAX_REPEATED and count * ITEMSIZES[dtype] > storage.nbytes:
        return None
    return View(storage, dtype, shape, offset, steps)


def _read_sizes(values: object) -> tuple[int, ...]:
    if isinstance(values, Inert) and type(values.args) is tuple and len(values.args) == 1:
        values = values.args[0]  # torch.Size
    if isinstance(values, tuple | list) and len(values) <= MAX_DIMENSIONS:
        return tuple(values)
    raise CheckpointError(f"Tensor has no shape of at most {MAX_DIMENSIONS} dimensions")


def _check_numbers(numbers: tuple[Any, ...]) -> None:
    if {*map(type, numbers)} != {int} or min(numbers) < 0 or max(numbers) >= 2**63:
        raise CheckpointError("Tensor has sizes, strides or an offset that are no natural numbers")


def _contiguous(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    step = 1
    for n, stride in zip(reversed(shape), reversed(strides), strict=True):
        if n != 1 and stride != step:
            return False
        step *= n
    return True
