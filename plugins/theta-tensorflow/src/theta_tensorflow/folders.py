"""Which folders are TensorFlow checkpoints: SavedModels, and those in which a trainer saves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_DATA = re.compile(r"(?:(.*)/)?([^/]*)\.data-\d{5}-of-\d{5}", re.DOTALL)
_GRAPHS = ("saved_model.pb", "saved_model.pbtxt")
_FILES = ("*.index", "*.data-?????-of-?????")


def find_checkpoints(names: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Folders that hold checkpoints, and the patterns of what lies in them.

    A SavedModel is the folder of its graph, which stays with git as ordinary content, and so do
    assets, a trainer's ``checkpoint``, and all else.
    """
    there, found = set(names), {}
    for name in names:
        match = _DATA.fullmatch(name)
        if not match:
            continue
        folder = match[1] or ""
        if f"{name.rpartition('.data-')[0]}.index" not in there:
            continue
        model = folder.rpartition("/")[0]
        start = f"{model}/" if model else ""
        saved = folder.rpartition("/")[2] == "variables" and any(
            start + graph in there for graph in _GRAPHS
        )
        if saved:
            found[model] = tuple(f"variables/{pattern}" for pattern in _FILES)
        else:
            found[folder] = _FILES
    return found
