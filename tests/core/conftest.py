"""What the kernel's tests share: installed plugins that are made up."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_distributions import Install, lay_out, module_of


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a distribution for the length of a test."""
    monkeypatch.syspath_prepend(tmp_path)
    modules = []

    def install(distribution: str, source: str, *, entries: str = "") -> None:
        modules.append(module_of(distribution))
        lay_out(tmp_path, distribution, source, entries)

    yield install
    for module in modules:
        sys.modules.pop(module, None)
