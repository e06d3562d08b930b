"""The example in the README of theta-flax works as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import flax_oracle  # noqa: F401  # skips where flax is missing

README = (Path(__file__).parents[2] / "plugins/theta-flax/README.md").read_text("utf-8")


def test_the_example_works_and_does_what_it_says(tmp_path: Path) -> None:
    found = re.search(r"## Two minutes\n\n```sh\n(.*?)```", README, re.DOTALL)
    assert found
    command = ["bash", "-euo", "pipefail", "-c", found[1]]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-4000:]
    assert re.findall(r"^\+group (\S+)", ran.stdout, re.MULTILINE) == ["bias", "bias"]
    assert re.search(r"2 parameter groups of 2 files", ran.stdout)
    attributes = (tmp_path / "demo/.gitattributes").read_text()
    assert "ckpt/*/?*.* filter=theta" in attributes
    for name in ("model.msgpack", "ckpt/bias/0", "ckpt/kernel/0.0"):
        original = subprocess.run(
            ["git", "cat-file", "--filters", f"HEAD~1:{name}"],
            cwd=tmp_path / "demo",
            env={**os.environ, "GIT_CONFIG_NOSYSTEM": "1"},
            capture_output=True,
            check=True,
        )
        assert (tmp_path / "demo" / name).read_bytes() == original.stdout
