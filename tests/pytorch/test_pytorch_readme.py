"""The examples in the README of theta-pytorch work as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parents[2] / "plugins/theta-pytorch/README.md").read_text("utf-8")


def block(heading: str, language: str) -> str:
    section = README.partition(heading)[2]
    found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found
    return found[1]


def test_the_examples_work_and_do_what_they_say(tmp_path: Path) -> None:
    script = block("## Two minutes", "sh")
    command = ["bash", "-euo", "pipefail", "-c", script]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    diff, _, shown = ran.stdout.partition("+group bias")
    assert "-group bias F32 [2]" in diff
    assert "group weight" not in diff + shown.partition("\n")[0]
    assert "weight" in shown

    model = tmp_path / "demo/model.pt"
    original = subprocess.run(
        ["git", "cat-file", "--filters", "HEAD~1:model.pt"],
        cwd=model.parent,
        capture_output=True,
        check=True,
    )
    assert model.read_bytes() == original.stdout

    script = block("From Python, without torch", "python")
    command = [sys.executable, "-c", script]
    ran = subprocess.run(command, cwd=model.parent, capture_output=True, text=True, check=True)
    assert ran.stdout == "weight F32 (2, 4)\nbias F32 (2,)\n"
