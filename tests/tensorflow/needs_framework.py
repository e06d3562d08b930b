"""Frameworks that tests need: where one is not installed they are skipped, in CI they fail."""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any

import pytest

_IN_CI = os.environ.get("CI", "").lower() in ("1", "true")


def require(name: str) -> None:
    """Skip the test, or in CI fail it, where a library is not installed; it is not imported."""
    if importlib.util.find_spec(name) is None:
        reason = f"{name} is not installed: pip install -r requirements-dev.txt"
        pytest.fail(reason) if _IN_CI else pytest.skip(reason)


def needs(name: str) -> Any:
    """A library that is light enough to be imported by the test itself."""
    require(name)
    return importlib.import_module(name)
