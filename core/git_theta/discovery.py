"""Finds installed plugins: the entry points of our group, without reading every distribution.

:mod:`importlib.metadata` takes 15 ms to import and parses what every distribution offers, which
git waits for whenever a file is added. Here are its rules for distributions that lie unpacked in
folders, as pip leaves them (editable ones, too); where something else is on the path it is asked
itself. Nothing is loaded here: that is :mod:`git_theta.plugins`'.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import NamedTuple

from git_theta.errors import PluginError

_SEPARATORS = re.compile("[-_.]+")


class EntryPoint(NamedTuple):
    """A plugin as its distribution announces it."""

    distribution: str
    """Name of the distribution, as in its metadata; "?" where that is missing."""
    name: str
    value: str
    """``module`` or ``module:attribute``."""
    version: str
    """Version of the distribution."""

    def load(self) -> object:
        """Import the plugin.

        Raises
        ------
        Exception
            Whatever the import raises.
        """
        module, _, attributes = self.value.partition("[")[0].partition(":")
        if not module.strip():
            raise PluginError(f"Expected module or module:attribute, found {self.value!r}")
        found: object = import_module(module.strip())
        for attribute in filter(None, attributes.strip().split(".")):
            found = getattr(found, attribute)
        return found


def entry_points(group: str) -> list[EntryPoint]:
    """All entry points of a group, sorted; of distributions with one name the first on the path."""
    eggs = any(os.fspath(folder).lower().endswith(".egg") for folder in sys.path)
    if eggs or not all(map(_is_plain, sys.meta_path)):
        return _ask_importlib(group)
    found: dict[str, list[EntryPoint]] = {}
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")
        except NotADirectoryError:  # a zip file
            return _ask_importlib(group)
        except OSError:
            continue
        for name in names:
            stem, ending = os.path.splitext(name)
            key = _SEPARATORS.sub("_", stem.partition("-")[0]).lower()
            if ending.lower() in (".dist-info", ".egg-info") and key not in found:
                found[key] = list(_read(os.path.join(folder, name), group))
    return sorted(entry for entries in found.values() for entry in entries)


def _is_plain(finder: object) -> bool:
    """Whether a finder of modules finds no distributions, or those of the path alone."""
    name = getattr(finder, "__module__", "")
    return name == "_frozen_importlib_external" or not hasattr(finder, "find_distributions")


def _ask_importlib(group: str) -> list[EntryPoint]:
    from importlib import metadata

    return sorted(
        EntryPoint(e.dist.name, e.name, e.value, e.dist.version)
        if e.dist
        else EntryPoint("?", e.name, e.value, "?")
        for e in metadata.entry_points(group=group)
    )


def _read(info: str, group: str) -> Iterator[EntryPoint]:
    text = _text(info, "entry_points.txt")
    if group not in text:
        return
    section, told = "", None
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif section == group and line and not line.startswith("#"):
            name, _, value = line.partition("=")
            told = told or _told(info)
            yield EntryPoint(told[0], name.strip(), value.strip(), told[1])


def _told(info: str) -> tuple[str, str]:
    """Name and version of a distribution."""
    headers = {"name": "?", "version": "?"}
    for line in (_text(info, "METADATA") or _text(info, "PKG-INFO")).splitlines():
        if not line:
            break
        key, _, value = line.partition(":")
        if headers.get(key.lower()) == "?":
            headers[key.lower()] = value.strip()
    return headers["name"], headers["version"]


def _text(info: str, name: str) -> str:
    try:
        with open(os.path.join(info, name), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:  # none there, or an .egg-info that is itself a file
        return ""
