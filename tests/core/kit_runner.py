"""Runs the checks of the conformance kit one at a time, as pytest would."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path


def checks(kit: type) -> list[str]:
    return [name for name in dir(kit) if name.startswith("test_")]


def run(kit: object, check: str, folder: Path) -> None:
    method: Callable[..., None] = getattr(kit, check)
    if "tmp_path" in inspect.signature(method).parameters:
        method(folder)
    else:
        method()
