"""How the kernel's wheel compiles, whatever the compiler and the machine are like."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

CORE = Path(__file__).parents[2] / "core"
HOOK = CORE / "hatch_build.py"

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")


@pytest.fixture
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kernel_hatch_build", HOOK)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_compiler_that_is_told_to_be_inexact_is_not(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading what is linked with -ffast-math makes all small numbers of a process zero."""
    monkeypatch.setenv("CC", "cc -ffast-math")
    made = hook._compile(CORE / "git_theta/compiled", tmp_path)
    assert made
    script = f"""
import ctypes
import numpy as np
ctypes.CDLL({str(made[0])!r})
print((np.array([1e-40], "<f4") * np.float32(1))[0] > 0)
"""
    environment = {**os.environ, "GIT_THETA_COMPILED": "0"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"
