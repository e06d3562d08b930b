"""A PEFT adapter folder as updates of a checkpoint's groups.

A LoRA adapter holds ``lora_A.weight`` [rank, in] and ``lora_B.weight`` [out, rank] of each module.
The module's weight becomes ``weight + scaling * B @ A``, transposed where ``fan_in_fan_out`` says
so and for embeddings. Modules that were trained as a whole (``modules_to_save``, biases) replace
theirs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from git_theta.checkpoint import Layout, Tensor
from git_theta.errors import UpdateFileError
from git_theta.plugins import Plugins
from git_theta.source import BytesSource, Source
from git_theta.told.adapter_config import CONFIG, MERGE, AdapterConfig, read_config
from git_theta.told.update_file import Fields, Told, listed, numbers_of, scan
from git_theta.updates.arrays import floats
from git_theta.updates.interface import Numbers

WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
"""Names of the file with an adapter's factors, the first that exists is read."""

_PREFIX = "base_model.model."
_LORA = re.compile(r"(.+)\.(lora_(?:embedding_)?[AB])(?:\.default)?(?:\.weight)?")
_IA3 = re.compile(r"(.+)\.ia3_l(?:\.default)?")


class _Adapter(NamedTuple):
    """An adapter, and the groups that it is for."""

    file: Source
    path: str
    layout: Layout
    config: AdapterConfig
    groups: Mapping[str, Tensor]


def find_adapter(path: Path) -> tuple[Path, Path] | None:
    """The folder of an adapter and the file with its weights; None when a path leads to none.

    Raises
    ------
    UpdateFileError
        When the folder lacks one of its files.
    """
    folder = path.parent if path.name in WEIGHTS else path
    if path.is_file() and not (path.name in WEIGHTS and (folder / CONFIG).is_file()):
        return None
    for wanted in ((CONFIG,), WEIGHTS):
        if not any((folder / name).is_file() for name in wanted):
            raise UpdateFileError(
                f"{folder}: expected a PEFT adapter with {' or '.join(wanted)}, found none",
                remedy="Give an update file, or the folder that save_pretrained wrote",
            )
    return folder, next(folder / name for name in WEIGHTS if (folder / name).is_file())


def read_adapter(
    folder: Path, file: Source, path: str, checkpoint: Layout, plugins: Plugins
) -> list[Told]:
    """What an adapter tells of the groups of a checkpoint, in the order of group names.

    Parameters
    ----------
    folder
        The adapter's.
    file, path
        The file with its weights.
    checkpoint
        Layout of the file that it is for.
    plugins
        Where formats are found.

    Raises
    ------
    UpdateFileError
        When configuration, weights and checkpoint do not go together.
    """
    config = read_config(folder)
    layout = scan(file, path, plugins).layout
    groups = {tensor.name: tensor for tensor in checkpoint.tensors}
    adapter = _Adapter(file, path, layout, config, groups)
    factors: dict[str, dict[str, Tensor]] = {}
    told = []
    for tensor in layout.tensors:
        name = tensor.name.removeprefix(_PREFIX)
        if config.update_type == "low-rank" and (found := _LORA.fullmatch(name)):
            factors.setdefault(found[1], {})[found[2]] = tensor
        elif config.update_type == "scale" and (found := _IA3.fullmatch(name)):
            told += _scaled(adapter, found[1], tensor)
        elif re.search(r"\.(lora_|ia3_|token_adapter\.)", f".{name}"):
            raise UpdateFileError(
                f"{path}: what {tensor.name!r} does to the weights cannot be told as factors",
                remedy=MERGE,
            )
        else:
            told.append(_whole(adapter, name.replace(".base_layer.", "."), tensor))
    told += [_low_rank(adapter, module, pair) for module, pair in factors.items()]
    if not told:
        raise UpdateFileError(f"{path}: expected an adapter's weights, found none")
    return sorted(told, key=lambda one: one.group)


def _whole(adapter: _Adapter, name: str, tensor: Tensor) -> Told:
    group = _match(adapter, name, tensor.name)
    return Told(
        group, "dense", lambda: {"parameter": numbers_of(adapter.file, adapter.layout, tensor)}
    )


def _scaled(adapter: _Adapter, module: str, tensor: Tensor) -> list[Told]:
    """The weight of a module times a vector, and its bias, where the outputs are scaled."""
    group = _match(adapter, f"{module}.weight", tensor.name)
    numbers = numbers_of(adapter.file, adapter.layout, tensor)
    if len(tensor.shape) != 2 or 1 not in tensor.shape or tensor.shape == (1, 1):
        raise UpdateFileError(
            f"{adapter.path}: expected {tensor.name!r} of shape [out, 1] or [1, in], "
            f"found {list(tensor.shape)}"
        )
    shape = tensor.shape[::-1] if adapter.config.transposed else tensor.shape
    told = [Told(group, "scale", lambda: {"ia3": numbers._replace(shape=shape)})]
    bias = group.removesuffix("weight") + "bias"
    if tensor.shape[1] == 1 and bias in adapter.groups:
        flat = numbers._replace(shape=(tensor.shape[0],))
        told.append(Told(bias, "scale", lambda: {"ia3": flat}))
    return told


def _low_rank(adapter: _Adapter, module: str, pair: Mapping[str, Tensor]) -> Told:
    embedding = "lora_embedding_A" in pair
    names = ("lora_embedding_A", "lora_embedding_B") if embedding else ("lora_A", "lora_B")
    if sorted(pair) != sorted(names):
        raise UpdateFileError(
            f"{adapter.path}: expected {' and '.join(names)} of {module}, found {listed(pair)}"
        )
    one, other = (pair[name] for name in names)
    group = _match(adapter, f"{module}.weight", one.name)
    rank = adapter.config.rank_of(module)
    ranks = [t.shape[axis] if len(t.shape) > 1 else 0 for t, axis in ((one, 0), (other, 1))]
    if ranks != [rank, rank]:
        raise UpdateFileError(
            f"{adapter.path}: expected factors of {module} of rank {rank}, as {CONFIG} has it, "
            f"found shapes {list(one.shape)} and {list(other.shape)}"
        )
    kernel, shape = one.shape[1:], adapter.groups[group].shape
    if len(kernel) > 1 and kernel != shape[1:]:
        raise UpdateFileError(
            f"{adapter.path}: expected {one.name!r} of shape {[rank, *shape[1:]]}, "
            f"found {list(one.shape)}",
            remedy="Convolutions in groups cannot be told; merge the adapter yourself",
        )
    transposed = embedding or (adapter.config.transposed and len(kernel) == 1)
    return Told(group, "low-rank", _factors(adapter, module, one, other, transposed), rank)


def _factors(
    adapter: _Adapter, module: str, one: Tensor, other: Tensor, transposed: bool
) -> Callable[[], Fields]:
    """Makes R [rows, rank] and C [rank, columns] of A and B; convolutions have more dimensions."""
    scaling = adapter.config.scaling(module)

    def make() -> Fields:
        a, b = (
            floats(numbers_of(adapter.file, adapter.layout, tensor), tensor.name)
            for tensor in (one, other)
        )
        rank = len(a)
        if b.size != len(b) * rank:  # only kernels of one element are a matrix
            raise UpdateFileError(f"{other.name} has the shape {list(b.shape)}, expected a matrix")
        b = b.reshape(len(b), rank)
        left, right = (a.reshape(rank, -1).T, b.T) if transposed else (b, a)
        return {"R": _numbers(left * scaling), "C": _numbers(right)}

    return make


def _numbers(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Numbers:
    data = np.ascontiguousarray(values, "<f8")
    return Numbers(BytesSource(data.tobytes()), "F64", values.shape)


def _match(adapter: _Adapter, name: str, told: str) -> str:
    """The group of a name: the same, or the only one of which either is the end of the other."""
    if name in adapter.groups:
        return name
    found = _ends_alike(name, list(adapter.groups))
    if len(found) == 1:
        return found[0]
    what = f"several: {listed(found)}" if found else "none"
    raise UpdateFileError(
        f"{adapter.path}: expected one parameter group for {told!r}, named {name!r} or with more "
        f"or fewer names in front, found {what}",
        remedy="The adapter must have been trained on the model that the file holds",
    )


def _ends_alike(name: str, groups: Sequence[str]) -> list[str]:
    ends = (f".{name}", f"/{name}")
    return [group for group in groups if group.endswith(ends) or name.endswith(f".{group}")]
