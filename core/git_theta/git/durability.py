"""Whether what is added must be on the disk at once: as git is told about its own objects.

A pack that ``git add`` wrote is named by a loose object, so it is flushed where those are
(``core.fsync``, and ``core.fsyncObjectFiles`` of old). Packs that take the place of others, or come
from elsewhere, are always flushed: git does so with its packs, too.
"""

from __future__ import annotations

from functools import cache

from git_theta.git import run

_LOOSE = frozenset({"loose-object", "objects", "committed", "added", "all"})
"""The components of ``core.fsync`` that loose objects belong to (git-config(1))."""
_TRUE = frozenset({"true", "yes", "on", "1"})


@cache
def flushes_objects() -> bool:
    """Whether git flushes loose objects, in the repository of the current folder."""
    said = run.text("config", "--null", "--get-regexp", r"^core\.fsync(objectfiles)?$", ok=(0, 1))
    settings = dict(line.partition("\n")[::2] for line in said.split("\0") if line)
    if settings.get("core.fsyncobjectfiles", "").lower() in _TRUE:
        return True
    # Unless it is told, git flushes all objects but these; what is named stays, whatever else is.
    named = {name.strip() for name in settings.get("core.fsync", "").split(",")}
    return not _LOOSE.isdisjoint(named)
