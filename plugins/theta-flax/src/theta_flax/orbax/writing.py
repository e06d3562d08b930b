"""Writes an Orbax checkpoint through Orbax, which is imported here and nowhere else."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from git_theta.errors import CheckpointError, MissingPluginError
from git_theta.formats.interface import ScanContext, TensorData
from git_theta.source import Source
from theta_flax.nesting import fill, nest
from theta_flax.orbax.stored import InFiles, InOcdbt, open_checkpoint
from theta_flax.orbax.template import Template
from theta_flax.values import make_array
from theta_flax.writing import INSTALL

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


def write_with_orbax(
    tensors: Mapping[str, TensorData],
    template: Source | None,
    folder: Path,
    context: ScanContext,
    *,
    ocdbt: bool,
) -> None:
    """Write a checkpoint; all values are held in memory.

    Parameters
    ----------
    tensors
        The groups by name.
    template
        A file of a checkpoint whose version of zarr, compression, nesting and other content is
        kept; None: uncompressed, nested as the names tell.
    folder
        What to make.
    context
        Finds the other files of the template.
    ocdbt
        Whether arrays lie in an OCDBT store; else each has files of its own.

    Raises
    ------
    MissingPluginError
        When Orbax is not installed.
    CheckpointError
        When the folder is there already, Orbax cannot hold a group, or the template is malformed.
    """
    try:
        import orbax.checkpoint as ocp
    except ImportError as fault:
        raise MissingPluginError(
            "Writing a checkpoint anew needs orbax-checkpoint", remedy=INSTALL
        ) from fault
    if folder.exists():
        raise CheckpointError(f"Expected nothing at {folder}, which Orbax makes, found a file")
    arrays = {name: make_array(name, group) for name, group in tensors.items()}
    content, kept = _place(arrays, template, context, ocdbt)
    with tempfile.TemporaryDirectory(prefix=".git-theta-", dir=folder.parent) as beside:
        made = Path(beside).absolute() / "made"
        more = {} if kept.custom is None else {"custom_metadata": kept.custom}
        try:
            handler = ocp.PyTreeCheckpointHandler(
                use_ocdbt=ocdbt, use_zarr3=kept.zarr3, use_compression=kept.compressed
            )
            with ocp.Checkpointer(handler) as checkpointer:
                checkpointer.save(made, args=ocp.args.PyTreeSave(content, **more))
        except Exception as fault:  # whatever Orbax and tensorstore say about what they refuse
            raise CheckpointError(f"Orbax does not write this checkpoint: {fault}") from fault
        made.rename(folder)


class _Kept(NamedTuple):
    """What is kept of a template besides its values."""

    zarr3: bool = False
    compressed: bool = False
    custom: Any = None
    """The user's metadata."""


def _place(
    arrays: dict[str, Array], template: Source | None, context: ScanContext, ocdbt: bool
) -> tuple[object, _Kept]:
    """The values as they are to be nested, and what else is kept of the template."""
    kept = _Kept()
    try:
        if template is None:
            content: object = nest(arrays)
        else:
            open_file = open_checkpoint(template, context)
            old = Template(open_file, InOcdbt(open_file) if ocdbt else InFiles(open_file))
            old.join(arrays)
            content = fill(old.nest(arrays), arrays, old.known)
            kept = _Kept(old.tree.zarr3, old.compressed, old.tree.custom)
        content = _fit(content)
        _check_names([name for name, _ in _walk(content)], arrays, ocdbt)
    except RecursionError as fault:
        raise CheckpointError("Checkpoint is nested too deep to be written anew") from fault
    return content, kept


def _fit(value: Any) -> Any:
    """Scalars as Orbax takes them: numpy's numbers, Python's truth values, others as arrays."""
    import numpy as np

    if isinstance(value, dict):
        return {key: _fit(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_fit(part) for part in value]
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.generic) and not isinstance(value, np.number):
        return np.asarray(value)
    return value


def _walk(value: Any, path: str | None = None) -> Iterator[tuple[str, Any]]:
    """All arrays, by the names that Orbax gives them."""
    if isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in parts:
            yield from _walk(part, str(key) if path is None else f"{path}.{key}")
    elif value is not None and not isinstance(value, str | tuple):
        yield path or "", value


def _check_names(names: list[str], arrays: Mapping[str, Array], ocdbt: bool) -> None:
    found = set(names)
    for name in arrays:
        if name not in found:
            raise CheckpointError(f"Group {name!r} has no place, another of its list is gone")
    if len(found) < len(names):
        raise CheckpointError("Expected names of arrays that differ, found equal ones")
    for name in () if ocdbt else names:
        if "/" in name or "\0" in name or name in ("", ".", ".."):
            raise CheckpointError(
                f"Group {name!r} has a name that no folder can have",
                remedy="Write an OCDBT checkpoint, whose arrays have no folders",
            )
