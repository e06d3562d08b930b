"""Writes a checkpoint of a new structure through TensorFlow, which is imported here alone."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from git_theta.errors import CheckpointError, MissingPluginError
from git_theta.formats.interface import ScanContext, TensorData
from git_theta.source import BytesSource, Source
from theta_tensorflow.arrays import array_of
from theta_tensorflow.bundle.entries import DTYPES, Index

INSTALL = "pip install 'git-theta[tensorflow]'"

_QUANTIZED = {11: "qint8", 12: "quint8", 13: "qint32", 15: "qint16", 16: "quint16"}
_TEXT = 7


def write_with_tensorflow(
    tensors: Mapping[str, TensorData],
    template: tuple[Source, Index, int] | None,
    prefix: Path,
    context: ScanContext,
) -> None:
    """Write ``PREFIX.index`` and ``PREFIX.data-00000-of-00001``; all values are held in memory.

    Parameters
    ----------
    tensors
        The groups by name.
    template
        A data file, the index beside it, and which of its data files it is: strings are kept, and
        quantized groups stay quantized.
    prefix
        Where to write.
    context
        Finds the other data files of the template.

    Raises
    ------
    MissingPluginError
        When TensorFlow is not installed.
    CheckpointError
        When TensorFlow has no such dtype, or the template holds slices of variables.
    """
    try:
        import tensorflow as tf
    except ImportError as fault:
        raise MissingPluginError(
            "Writing a checkpoint anew needs TensorFlow", remedy=INSTALL
        ) from fault
    kinds = {t.name: t.dtype for t in template[1].tensors} if template else {}
    values = {}
    for name, tensor in tensors.items():
        values[name] = tf.convert_to_tensor(array_of(name, tensor))
        quantized = _QUANTIZED.get(kinds.get(name, 0))
        if quantized and DTYPES[kinds[name]] == tensor.dtype:
            values[name] = tf.bitcast(values[name], getattr(tf, quantized))
    if template:
        values |= _read_texts(tf, *template, context)
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(values),
        shape_and_slices=[""] * len(values),
        tensors=list(values.values()),
    )


def _read_texts(
    tf: Any, data: Source, index: Index, shard: int, context: ScanContext
) -> dict[str, Any]:
    """The strings of a checkpoint, as TensorFlow reads them."""
    other = [tensor for tensor in index.tensors if tensor.dtype not in DTYPES]
    if any(tensor.name.endswith("]") for tensor in index.tensors):
        raise CheckpointError(
            "Expected a template of whole variables, found slices of some",
            remedy="Load it and save it again without a partitioner",
        )
    if any(tensor.dtype != _TEXT for tensor in other):
        raise CheckpointError("The template holds values that are neither numbers nor strings")
    if not other:
        return {}
    with tempfile.TemporaryDirectory(prefix="git-theta-") as folder:
        prefix = Path(folder) / "template"
        _copy(BytesSource(index.table.data), prefix.with_suffix(".index"))
        stem = context.path.rpartition("/")[2].rpartition(".data-")[0]
        for number in range(index.shards):
            end = f".data-{number:05}-of-{index.shards:05}"
            part = data if number == shard else context.sibling(stem + end)
            if part is None:
                raise CheckpointError(f"Expected {stem}{end} beside the template")
            _copy(part, Path(f"{prefix}{end}"))
        names = [tensor.name for tensor in other]
        found = tf.raw_ops.RestoreV2(
            prefix=str(prefix),
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            dtypes=[tf.string] * len(names),
        )
    return dict(zip(names, found, strict=True))


def _copy(source: Source, path: Path) -> None:
    with path.open("wb") as out:
        for block in source.blocks():
            out.write(block)
