"""The conformance kit as a whole."""

from __future__ import annotations

import subprocess
import sys

import pytest
from kit_runner import checks

from git_theta.testing import (
    FormatConformance,
    SerializerConformance,
    StoreConformance,
    UpdateTypeConformance,
)


@pytest.mark.parametrize(
    "kit", [FormatConformance, SerializerConformance, UpdateTypeConformance, StoreConformance]
)
def test_every_check_says_what_it_holds(kit: type) -> None:
    assert len(checks(kit)) >= 8
    for check in checks(kit):
        assert getattr(kit, check).__doc__, check


def test_kit_needs_neither_pytest_nor_a_framework() -> None:
    code = (
        "import sys, git_theta.testing\n"
        "print(sorted({'pytest', 'hypothesis', 'torch', 'tensorflow', 'jax'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.split() == [b"[]"]
