"""Compiles ``git_theta/compiled/kernels.c`` into the wheel, where there is a compiler.

Without one, or with ``GIT_THETA_COMPILED=0``, the wheel is pure Python: numpy does the same, in
more passes. The libraries know no Python, so a wheel that has them fits every Python of its
platform.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

from packaging import tags  # hatchling has it

_FOLDER = "git_theta/compiled"
_FLAGS = ("-O3", "-fno-fast-math", "-fPIC", "-shared", "-Wno-psabi")
_LEVELS = {"kernels.so": (), "kernels-v3.so": ("-march=x86-64-v3",)}
_LEVELS |= {"kernels-v4.so": ("-march=x86-64-v4",)}


class Compiled(BuildHookInterface):  # type: ignore[type-arg]
    """Adds ``kernels.so``, and on x86-64 one for each level of vector instructions."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile into the wheel; of an editable install, into the checkout."""
        root = Path(self.root)
        if version == "editable":
            for name in _LEVELS:  # what is not made anew would be of another source
                (root / _FOLDER / name).unlink(missing_ok=True)
            _compile(root / _FOLDER, root / _FOLDER)
            return
        self._scratch = tempfile.TemporaryDirectory(prefix="git-theta-")  # goes if a build fails
        libraries = _compile(root / _FOLDER, Path(self._scratch.name))
        for library in libraries:
            build_data["force_include"][str(library)] = f"{_FOLDER}/{library.name}"
        if libraries:
            build_data["tag"] = f"py3-none-{_tag()}"
            build_data["pure_python"] = False

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was compiled."""
        if version != "editable":
            self._scratch.cleanup()


def _tag() -> str:
    """The platform as pip names it: the processor's name may be that of a system of 64 bits."""
    anywhere = ("manylinux", "musllinux")  # what that takes, auditwheel knows
    return next(tag for tag in tags.platform_tags() if not tag.startswith(anywhere))


def _compile(source: Path, target: Path) -> list[Path]:
    """The libraries of this machine, made in ``target``; none where one for all cannot be."""
    if os.environ.get("GIT_THETA_COMPILED") == "0" or sys.byteorder != "little":
        return []
    levels = list(_LEVELS) if platform.machine() in ("x86_64", "AMD64") else ["kernels.so"]
    compiler = shlex.split(os.environ.get("CC", "cc"))
    crc = zlib.crc32((source / "kernels.c").read_bytes())
    flags = (*_FLAGS, f"-DTHETA_SOURCE={crc}u")  # compiled/__init__.py compares it
    made: list[Path] = []
    for name in levels:
        command = [*compiler, *flags, *_LEVELS[name], "-o", str(target / name)]
        try:
            subprocess.run(
                [*command, str(source / "kernels.c")],
                check=True,
                capture_output=True,
                text=True,
                errors="replace",
            )
        except (OSError, subprocess.CalledProcessError) as fault:
            why = getattr(fault, "stderr", "") or fault
            print(f"{name} was not compiled ({why}): slower, but the same", file=sys.stderr)
            break
        made.append(target / name)
    return made
