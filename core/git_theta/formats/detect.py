"""Finds the format of a file from its content, and of the parts inside a container.

A format that fails on a file must never cost the user the file: what cannot be understood is
unknown, stored byte for byte, with a warning that says why.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from typing import NamedTuple

from git_theta.checkpoint import Layout, check_layout
from git_theta.errors import (
    CheckpointError,
    FormatMismatch,
    GitError,
    LimitExceeded,
    MetadataError,
    MissingPackError,
    PackError,
    StoreError,
)
from git_theta.formats.interface import HEAD_BYTES, CheckpointFormat
from git_theta.plugins import Plugins
from git_theta.source import Source

Siblings = Callable[[str], Source | None]
"""Opens another file, named from the top of the work tree; None where there is none."""

UNKNOWN = "unknown"
"""Name in metadata of the format of a file that no installed format knows."""

MAX_NESTING = 4
"""How deep containers may hold containers that are looked into."""

MAX_WARNINGS = 3
"""Warnings that are told of one file; of the others the number."""

MAX_NAME = 120
"""Characters of a part's name that a warning repeats."""

MAX_FAULT = 240
"""Characters of what a format says that a warning repeats: a file may have chosen them."""


_NOT_READ = (GitError, MetadataError, MissingPackError, PackError, StoreError)
"""A sibling is there and cannot be had: nothing that the file or its format is to blame for."""


class Detected(NamedTuple):
    """A file as the installed formats see it."""

    formats: tuple[str, ...]
    """Names of the formats that know the file: the file's own, then those of its parts."""
    layout: Layout
    """Where the parameter groups lie; empty for an unknown file."""
    warning: str = ""
    """Why a format refused a file that looked like one of its own; "" when none did."""


class Warnings:
    """Why formats refused a file or parts of it: the first few, and how many more there were.

    A hostile container has any number of broken parts with names of any length.
    """

    def __init__(self) -> None:
        self._told: list[str] = []
        self._more = 0

    def add(self, warning: str) -> None:
        """Remember a warning, or count it."""
        if len(self._told) < MAX_WARNINGS:
            self._told.append(warning)
        else:
            self._more += 1

    def __str__(self) -> str:
        more = [f"and {self._more} more"] if self._more else []
        return "; ".join(self._told + more)


def no_siblings(path: str) -> Source | None:
    """For a file that lies beside no other."""
    return None


class Context:
    """The :class:`~git_theta.formats.interface.ScanContext` that formats are given."""

    __slots__ = ("depth", "path", "plugins", "siblings", "warnings")

    def __init__(
        self,
        plugins: Plugins,
        path: str,
        siblings: Siblings = no_siblings,
        depth: int = 0,
        warnings: Warnings | None = None,
    ) -> None:
        self.plugins, self.path, self.siblings = plugins, path, siblings
        self.depth, self.warnings = depth, warnings or Warnings()

    def scan_part(self, part: Source, name: str) -> Layout | None:
        """Ask the installed formats about a part of the file; None when none knows it."""
        if self.depth + 1 > MAX_NESTING:
            raise LimitExceeded(f"{self.path}: containers inside containers, {MAX_NESTING} deep")
        inner = Context(self.plugins, name, depth=self.depth + 1, warnings=self.warnings)
        found = _scan(part, inner)
        if not found:
            return None
        format, layout = found
        nested = tuple(dict.fromkeys((format.name, *layout.nested)))
        return Layout(layout.buffers, layout.tensors, nested)

    def splice_part(self, part: Source, name: str, changed: Mapping[int, Source]) -> Source:
        """Splice a part that :meth:`scan_part` knew; indices are those of the part's layout."""
        inner = Context(self.plugins, name, depth=self.depth + 1)
        found = _scan(part, inner)
        if not found:
            raise CheckpointError(f"{self.path}: no installed format knows its part {name!r}")
        format, layout = found
        return format.splice(part, layout, changed, inner)

    def sibling(self, name: str) -> Source | None:
        """Another file near this one, by its path from this one's folder; None: there is none."""
        path = beside(self.path, name)
        return self.siblings(path) if path else None


def beside(path: str, name: str) -> str:
    """What a file's sibling is called from the top of the work tree; "" for what is none.

    Parameters
    ----------
    path
        The file, from the top.
    name
        The sibling, from the file's folder.
    """
    if not path or not name or "\0" in name or name.startswith("/") or path.startswith("/"):
        return ""
    found = posixpath.normpath(posixpath.join(posixpath.dirname(path), name))
    outside = found in (".", "..", path) or found.startswith("../")
    return "" if outside else found


def detect(file: Source, path: str, plugins: Plugins, siblings: Siblings = no_siblings) -> Detected:
    """Find the format of a file and scan it; never raises about the file's content.

    Parameters
    ----------
    file
        The whole file.
    path
        Its path from the top of the work tree, for formats without a magic number.
    plugins
        Where formats are found.
    siblings
        Where the other files of the checkpoint are found. What it raises, because a file that is
        there cannot be had, passes through.
    """
    context = Context(plugins, path, siblings)
    found = _scan(file, context)
    warning = str(context.warnings)
    if not found:
        return Detected((UNKNOWN,), Layout(), warning)
    format, layout = found
    return Detected(tuple(dict.fromkeys((format.name, *layout.nested))), layout, warning)


class Spliced(NamedTuple):
    """A file with other values, and the files that changed along with it."""

    file: Source
    beside: dict[str, Source]
    """By path from the top of the work tree."""


def splice(
    file: Source,
    path: str,
    plugins: Plugins,
    changed: Mapping[int, Source],
    siblings: Siblings = no_siblings,
) -> Spliced:
    """The file with other values in some buffers, checksums right, wherever they lie.

    ``changed`` maps indices of the detected layout's buffers to sources of the same length; the
    others are as for :func:`detect`.

    Raises
    ------
    CheckpointError
        When no installed format knows the file, or a buffer has a coding.
    """
    context = Context(plugins, path, siblings)
    found = _scan(file, context)
    if not found:
        raise CheckpointError(f"{path}: no installed format knows this file")
    format, layout = found
    if any(layout.buffers[number].coding for number in changed):
        raise CheckpointError(f"{path}: expected numbers as they are, found them compressed")
    spliced = format.splice(file, layout, changed, context)
    others = format.splice_beside(file, layout, changed, context)
    return Spliced(spliced, {beside(path, name): other for name, other in others.items()})


def _scan(file: Source, context: Context) -> tuple[CheckpointFormat, Layout] | None:
    head = bytes(file.read(0, min(file.size, HEAD_BYTES)))
    for offer in context.plugins.offers("theta_checkpoint_formats").values():
        format: CheckpointFormat = offer.value
        try:
            if not format.matches(head, context.path):
                continue
            layout = format.scan(file, context)
            check_layout(layout, file.size)
        except FormatMismatch:
            continue
        except _NOT_READ:
            raise
        except (Exception, RecursionError) as fault:  # whatever a plugin does, the file is kept
            context.warnings.add(_warning(format, offer.plugin.distribution, fault, context))
            continue
        return format, layout
    return None


def _warning(format: CheckpointFormat, who: str, fault: BaseException, context: Context) -> str:
    where = _shortened(context.path or "the file", MAX_NAME)
    what = _shortened(str(fault), MAX_FAULT)
    if isinstance(fault, CheckpointError):
        return f"{where} looks like {format.name} but cannot be read as such: {what}"
    return f"{where}: the format {format.name} of {who} failed: {type(fault).__name__}: {what}"


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
