"""Distributions of one module, laid on the path as pip would leave them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Protocol

from git_theta.plugins import Plugins

SERIALIZER = """
    from types import SimpleNamespace
    from git_theta.hookspecs import hookimpl

    @hookimpl
    def theta_serializers():
        return [SimpleNamespace(name="{name}")]
"""
"""A plugin that offers one serializer, to be formatted."""


class Install(Protocol):
    """What the fixture ``install`` gives."""

    def __call__(self, distribution: str, source: str, *, entries: str = "") -> None:
        """Install a distribution, version 2.5, whose module has its name and this source."""


def module_of(distribution: str) -> str:
    return distribution.replace("-", "_")


def lay_out(folder: Path, distribution: str, source: str, entries: str) -> None:
    module = module_of(distribution)
    (folder / f"{module}.py").write_text(dedent(source))
    info = folder / f"{module}-2.5.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 2.5\n"
    (info / "METADATA").write_text(metadata)
    (info / "entry_points.txt").write_text(f"[git_theta]\n{entries or f'main = {module}'}\n")


def serializer(name: str) -> str:
    return SERIALIZER.format(name=name)


def failures_of(plugins: Plugins, distribution: str) -> list[str]:
    return [str(f) for f in plugins.failures if f.plugin.distribution == distribution]
