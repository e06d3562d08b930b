"""Which folders are Orbax checkpoints, and in which of their files weights lie.

A checkpoint of one item is a folder; a step of a CheckpointManager is one that holds an item's
folder or several, and what it manages a folder of steps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from theta_flax.ocdbt.nodes import MANIFEST_FILE
from theta_flax.zarr.metadata import FILES

_TREE = "_METADATA"  # of an item: what its arrays are called
_STEP = "_CHECKPOINT_METADATA"  # of a step, or of an item that was saved alone
_STEP_NAME = re.compile(r"(?:.*[_-])?[0-9]+")
_OCDBT_DATA = ("d", "ocdbt_data", "ocdbt_meta")
_ZARR_DATA = {FILES[0]: ("*/?*.*", "*/?", "*/??", "*/???"), FILES[1]: ("*/c", "*/c/**")}
"""Chunks are called 0, 12, 0.1 in version 2, and c, c/0/1 in version 3; ``.zarray`` is none."""


def find_ocdbt(names: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Checkpoints whose arrays lie in OCDBT, with the patterns of data files."""
    stores = {_folder(name) for name in names if _last(name) == MANIFEST_FILE}
    items = {store for store in stores if not store or _folder(store) not in stores}
    used = {_last(_folder(name)) for name in names}
    patterns = tuple(f"**/{folder}/*" for folder in _OCDBT_DATA if folder in used)
    return {folder: patterns for item in items for folder in _enclosing(item, set(names))}


def find_zarr(names: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Checkpoints whose arrays lie in files of zarr, with the patterns of chunks."""
    there = set(names)
    kinds: dict[str, dict[str, tuple[str, ...]]] = {}
    for name in names:
        item, kind = _folder(_folder(name)), _last(name)
        if kind in FILES and "/" in name and _join(item, _TREE) in there:
            kinds.setdefault(item, {})[kind] = _ZARR_DATA[kind]
    found: dict[str, tuple[str, ...]] = {}
    for item, used in kinds.items():
        patterns = [pattern for kind in used.values() for pattern in kind]
        for folder, start in _enclosing(item, there).items():
            more = (start + pattern for pattern in patterns)
            found[folder] = tuple(dict.fromkeys((*found.get(folder, ()), *more)))
    return found


def _enclosing(item: str, there: set[str]) -> dict[str, str]:
    """An item, the step that it is of and the folder of the steps: how paths in it then begin."""
    found = {item: ""}
    if not item or _join(item, _STEP) in there:
        return found
    step, start = _folder(item), f"{_last(item)}/"
    if _join(step, _STEP) in there:
        found[step] = start
        if _STEP_NAME.fullmatch(_last(step)):
            found[_folder(step)] = f"*/{start}"
    return found


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
