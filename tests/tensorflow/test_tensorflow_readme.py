"""The example in the README of theta-tensorflow works as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from needs_framework import require

README = (Path(__file__).parents[2] / "plugins/theta-tensorflow/README.md").read_text("utf-8")


def test_the_example_works_and_does_what_it_says(tmp_path: Path) -> None:
    require("tensorflow")
    found = re.search(r"## Two minutes\n\n```sh\n(.*?)```", README, re.DOTALL)
    assert found
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", found[1]],
        cwd=tmp_path,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    changed = re.findall(r"^\+group (\S+)", ran.stdout, re.MULTILINE)
    assert changed == ["layers/dense/vars/1"]
    assert re.search(r"\d parameter groups of 2 files", ran.stdout)
    attributes = (tmp_path / "demo/.gitattributes").read_text()
    assert "served/variables/*.index filter=theta" in attributes

    for name in ("model.weights.h5", "served/variables/variables.data-00000-of-00001"):
        original = subprocess.run(
            ["git", "cat-file", "--filters", f"HEAD~1:{name}"],
            cwd=tmp_path / "demo",
            capture_output=True,
            check=True,
        )
        assert (tmp_path / "demo" / name).read_bytes() == original.stdout
