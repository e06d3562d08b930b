"""The README's limits are those of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_theta import chunks, metadata, table
from git_theta.formats import detect, safetensors_header, zip_end
from git_theta.storage import unfolded
from theta_pytorch import walk
from theta_pytorch.pickles import machine

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
LIMITS = " ".join(README.partition("## Limits")[2].partition("\n## ")[0].split())


@pytest.mark.parametrize(
    "told",
    [
        f"buffers of a file: {metadata.MAX_ITEMS:,}, and {table.MAX_STRIDES:,} strides",
        f"its metadata: {metadata.MAX_BYTES // 2**20} MiB",
        f"Containers in containers: {detect.MAX_NESTING} deep",
        f"safetensors header: {safetensors_header.MAX_HEADER // 2**20} MiB",
        f"zip: {zip_end.MAX_ENTRIES:,} entries",
        f"directory of {zip_end.MAX_DIRECTORY // 2**20} MiB",
        f"opened up to {unfolded.MAX_RATIO} times its bytes and {unfolded.MAX_MORE // 2**20} MiB",
        f"Pickle: {machine.MAX_PICKLE // 2**20} MiB, {machine.MAX_STEPS:,} opcodes",
        f"{machine.MAX_MEMORY // 2**20} MiB of objects",
        f"PyTorch tensors: {walk.MAX_TENSORS:,} a file",
        f"some {chunks.MAX_LIST // chunks._ENTRY.size * chunks.AVERAGE // 10**10}0 GB",
    ],
)
def test_readme_has_the_cap(told: str) -> None:
    assert told in LIMITS
