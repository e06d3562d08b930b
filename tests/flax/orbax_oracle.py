"""Orbax as the oracle of our writing: what it saves is a template, what it restores was written.

Where flax is missing, importing this skips a module of tests, and fails in CI.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flax_oracle as oracle
import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from git_theta.formats.detect import Context
from git_theta.formats.interface import CheckpointFormat, TensorData
from git_theta.plugins import installed
from git_theta.source import BytesSource, Source
from git_theta.testing import Value
from git_theta.testing.scanning import read_folder
from theta_flax.dtypes import DTYPES
from theta_flax.ocdbt.format import Ocdbt
from theta_flax.zarr.format import Zarr

FORMATS: tuple[CheckpointFormat, ...] = (Zarr(), Ocdbt())
both = pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)


def named(content: Any) -> dict[str, Value]:
    """All arrays and numbers, by the names that Orbax gives them."""
    arrays = jax.tree_util.tree_leaves_with_path(content)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): oracle.to_value(np.asarray(leaf))
        for path, leaf in arrays
        if not isinstance(leaf, str) and np.asarray(leaf).dtype.name in DTYPES
    }


def groups(content: Any) -> dict[str, TensorData]:
    """The same for a format to write."""
    return {n: TensorData(v[0], v[1], BytesSource(v[2])) for n, v in named(content).items()}


def save(folder: Path, content: Any, save_args: Any = None, **options: Any) -> None:
    """Save through Orbax, with options of its handler."""
    handler = ocp.PyTreeCheckpointHandler(**{"use_compression": False, **options})
    custom = {"trained": ["by", 3]}
    args = ocp.args.PyTreeSave(content, save_args=save_args, custom_metadata=custom)
    with ocp.Checkpointer(handler) as checkpointer:
        checkpointer.save(folder, args=args)


def restore(folder: Path) -> Any:
    """What Orbax restores, on its own account."""
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        return checkpointer.restore(folder)


def scan(format: CheckpointFormat, folder: Path) -> dict[str, Value]:
    """All groups that we find in a checkpoint."""
    return read_folder(format, installed(), folder)


def write(
    format: CheckpointFormat,
    tensors: dict[str, TensorData],
    folder: Path,
    template: Path | None = None,
) -> None:
    """Write into ``folder``; the template is any file of a checkpoint in which groups are found."""
    top = folder.parent

    def open_file(name: str) -> Source | None:
        path = top / name
        return BytesSource(path.read_bytes()) if path.is_file() else None

    context, source = Context(installed(), ""), None
    if template:
        file = max((path for path in template.rglob("*") if is_data(path)), key=size_of)
        context = Context(installed(), str(file.relative_to(top)), open_file)
        source = BytesSource(file.read_bytes())
    format.write_to(tensors, source, folder, context)


def is_data(path: Path) -> bool:
    return path.is_file() and (path.parent.name == "d" or path.name[0] in "0123456789")


def size_of(path: Path) -> int:
    return path.stat().st_size


def checkpoint() -> dict[str, Any]:
    """All that a checkpoint can hold."""
    layer = {"kernel": np.arange(1200, dtype="f4").reshape(40, 30), "bias": np.ones(600)}
    return {
        "step": 7,
        "done": True,
        "params": {"first": layer, "small": np.arange(3)},
        "opt": [{"mu": np.full(400, 2.5), "none": None}, {}, [np.ones(300), "kept"]],
        "int4": np.arange(5).astype("int4"),
        "name": "model",
    }
