"""Checkpoints that are folders, as the installed formats see them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from git_theta.formats.interface import CheckpointFormat
from git_theta.plugins import Plugins

_WILD = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that is one checkpoint, or several of one kind."""

    format: str
    """Name of the format that knows it."""
    patterns: tuple[str, ...]
    """What git-theta stores of it: patterns of gitattributes, relative to the folder."""


def find_folders(names: Sequence[str], plugins: Plugins) -> dict[str, Folder]:
    """The checkpoints among files that are folders, by path; "" is the folder of all files.

    Parameters
    ----------
    names
        Paths of files, with slashes, relative to one folder.
    plugins
        Where formats are found; of several that know a folder, the first counts.
    """
    found: dict[str, Folder] = {}
    for offer in plugins.offers("theta_checkpoint_formats").values():
        format: CheckpointFormat = offer.value
        for path, patterns in _asked(format, names).items():
            if patterns:
                found.setdefault(path, Folder(format.name, tuple(patterns)))
    return found


def _asked(format: CheckpointFormat, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
    try:
        return format.folders(names)
    except Exception:  # a plugin that fails here must not keep anyone from listing files
        return {}


def innermost(path: str, folders: Mapping[str, Folder]) -> str | None:
    """The folder among ``folders`` to which a file belongs, the deepest one; None: to none."""
    folder = path
    while folder:
        folder = folder.rpartition("/")[0]
        if folder in folders and holds(folders[folder], path.removeprefix(f"{folder}/")):
            return folder
    return None


def holds(folder: Folder, path: str) -> bool:
    """Whether a file, named from the folder, is among what git-theta stores of it."""
    return any(_expression(pattern).fullmatch(path) for pattern in folder.patterns)


@lru_cache(2**8)
def _expression(pattern: str) -> re.Pattern[str]:
    """A pattern of gitattributes without character classes, as a regular expression."""
    said = re.sub(r"\*\*/|\*+|\?|[^*?]+", lambda t: _WILD.get(t[0]) or re.escape(t[0]), pattern)
    return re.compile(said if "/" in pattern else f"(?:.*/)?{said}", re.DOTALL)
