"""How the kernel's wheel compiles, whatever the compiler and the machine are like."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

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


def test_whatever_a_compiler_says_is_no_fault_of_the_build(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "compiler"
    compiler.write_text("#!/bin/sh\nprintf '\\377' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    assert hook._compile(CORE / "git_theta/compiled", tmp_path) == []


def test_a_build_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    script = f"""
import sys
sys.path.insert(0, {str(CORE)!r})
from hatch_build import Compiled
hook = Compiled({str(CORE)!r}, {{}}, None, None, "", "wheel")
hook.initialize("standard", {{"force_include": {{}}}})
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("platforms", "tag"),
    [
        (("manylinux_2_17_i686", "musllinux_1_2_i686", "linux_i686"), "linux_i686"),
        (("macosx_15_0_arm64", "macosx_14_0_arm64"), "macosx_15_0_arm64"),
    ],
)
def test_the_wheel_has_a_tag_that_pip_takes(
    platforms: tuple[str, ...], tag: str, hook: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a Python of 32 bits on a system of 64, sysconfig names the system's."""
    monkeypatch.setattr("packaging.tags.platform_tags", lambda: iter(platforms))
    compiled = hook.Compiled(str(CORE), {}, None, None, "", "wheel")
    data: dict[str, object] = {"force_include": {}}
    compiled.initialize("standard", data)
    compiled.finalize("standard", data, "")
    assert data["tag"] == f"py3-none-{tag}"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The kernel without the repository, and so what git ignores; libraries of an old source."""
    root = tmp_path / "core"
    ignored = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(CORE, root, ignore=ignored)
    for name in ("kernels.so", "kernels-v3.so", "kernels-v4.so"):
        (root / "git_theta/compiled" / name).write_bytes(b"old")
    return root


@pytest.mark.parametrize("off", ["0", ""])
def test_a_wheel_has_no_old_libraries(copied: Path, off: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(tmp_path)]
    environment = {**os.environ, "GIT_THETA_COMPILED": off}
    subprocess.run([*command, str(copied)], env=environment, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with ZipFile(wheel) as archive:
        libraries = [name for name in archive.namelist() if name.endswith(".so")]
        assert bool(libraries) == (off != "0")
        assert len(libraries) == len(set(libraries))
        assert b"old" not in [archive.read(name) for name in libraries]


def test_an_editable_install_keeps_no_old_libraries(
    copied: Path, hook: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_THETA_COMPILED", "0")
    hook.Compiled(str(copied), {}, None, None, "", "wheel").initialize("editable", {})
    assert list(copied.glob("git_theta/compiled/*.so")) == []


@pytest.mark.parametrize("later", [False, True])
def test_libraries_of_another_source_are_not_used(
    copied: Path, hook: ModuleType, later: bool
) -> None:
    """As after git pull, where an editable install was not made anew."""
    folder = copied / "git_theta/compiled"
    assert hook._compile(folder, folder)
    if later:
        with (folder / "kernels.c").open("a") as source:
            source.write("/* takes other arguments */")
    script = "from git_theta.compiled import kernels; print(kernels is None)"
    environment = {**os.environ, "PYTHONPATH": str(copied)}
    environment.pop("GIT_THETA_COMPILED", None)
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{later}\n"
