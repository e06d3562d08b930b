"""Lets pip find the sibling distributions of a checkout, which are on no index.

A wheel that is built right in a checkout requires the folders beside it, by direct references, so
that ``pip install .`` installs them too. An sdist, and a wheel that is built from one, have the
plain requirements of ``pyproject.toml``: that is what gets published. Editable installs are plain
as well, because pip refuses a folder that is asked for both ways; name the folders yourself.

This file is the same in every distribution that has siblings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.requirements import Requirement


class SiblingFolders(BuildHookInterface):  # type: ignore[type-arg]
    """Requires the folders of the option ``siblings``, where they exist, by direct reference."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Replace the requirements of the wheel that is being built."""
        root = Path(self.root)
        unpacked_sdist = (root / "PKG-INFO").is_file()
        if version == "editable" or unpacked_sdist:
            return
        folders = {}
        for name, folder in self.config["siblings"].items():
            sibling = (root / folder).resolve()
            if (sibling / "pyproject.toml").is_file():
                # "/." because pip takes theta-flax for a name and a version, and would install the
                # wheel that it built of the folder the last time
                folders[name] = f"{name} @ {sibling.as_uri()}/."
        # In place, not build_data["dependencies"]: pip gives up on a plain requirement that no
        # index has before it comes to the reference that would satisfy it.
        requirements = self.metadata.core.dependencies
        requirements[:] = [folders.get(Requirement(line).name, line) for line in requirements]
