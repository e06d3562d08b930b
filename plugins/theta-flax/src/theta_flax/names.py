"""Names of parameter groups, unique in their file."""

from __future__ import annotations

WHOLE = "array"
"""Name of the group of a file that is but an array."""


class Namer:
    """Gives every path a name of its own: the second array at ``a`` becomes ``a#2``."""

    def __init__(self) -> None:
        self._latest: dict[str, int] = {}

    def name(self, path: str) -> str:
        """The name for the next array at a path."""
        base = name = path or WHOLE
        while name in self._latest:
            self._latest[base] += 1
            name = f"{base}#{self._latest[base]}"
        self._latest[name] = 1
        return name
