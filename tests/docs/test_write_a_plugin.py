"""The plugin tutorial: every hook is in it, and its plugin works as it is printed."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from git_theta import hookspecs
from git_theta.plugins import HOOKS

PAGE = Path(__file__).parents[2] / "docs/write-a-plugin.md"


def run(*command: str, cwd: Path, **variables: str) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tutorial's files, each under the name in its first line."""
    folder = tmp_path_factory.mktemp("theta-flat")
    blocks = re.findall(r"```(?:toml|python)\n# (\S+)\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    assert [name for name, _ in blocks] == ["pyproject.toml", "theta_flat.py", "test_theta_flat.py"]
    for name, text in blocks:
        (folder / name).write_text(text, "utf-8")
    return folder


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_in_the_page_with_its_signature(name: str) -> None:
    signature = str(inspect.signature(getattr(hookspecs, name))).replace("'", "")
    assert f"`{name}{signature}`" in PAGE.read_text("utf-8")


def test_no_hook_is_specified_that_the_kernel_does_not_call() -> None:
    specified = {name for name in vars(hookspecs) if name.startswith("theta_")}
    assert specified == set(HOOKS)


def test_the_printed_plugin_conforms(plugin: Path) -> None:
    printed = run(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_theta_flat.py"),
        cwd=plugin,
    )
    assert " passed" in printed


def test_the_printed_plugin_is_found_once_installed(plugin: Path, tmp_path: Path) -> None:
    install = (sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation")
    run(*install, "--no-index", "--target", str(tmp_path), ".", cwd=plugin)
    code = "import sys; from git_theta.cli.main import main; sys.exit(main(sys.argv[1:]))"
    printed = run(
        *(sys.executable, "-c", code, "plugins", "--json"), cwd=tmp_path, PYTHONPATH=str(tmp_path)
    )
    found = {d["distribution"]: d["offers"] for d in json.loads(printed)["distributions"]}
    assert found["theta-flat"] == {"theta_checkpoint_formats": ["flat"]}
