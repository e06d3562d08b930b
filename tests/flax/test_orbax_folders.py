"""Which folders are Orbax checkpoints: items, steps of a manager, and what it manages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax_oracle  # noqa: F401  # skips where flax is missing
import numpy as np
import orbax.checkpoint as ocp
import pytest

from theta_flax.folders import find_ocdbt, find_zarr


@pytest.mark.parametrize(("ocdbt", "format"), [(False, "zarr"), (True, "ocdbt")])
@pytest.mark.parametrize("tracked", ["run/", "run/1/", "run/1/default/"])
def test_a_manager_and_its_steps_are_tracked_by_their_weights(
    make_repo: Callable[[str], Any], tracked: str, ocdbt: bool, format: str
) -> None:
    repo = make_repo("repo")
    repo.git("theta", "install", "--local")
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=ocdbt, use_compression=False)
    weights = {"kernel": np.ones((30, 40), np.float32), "bias": np.ones(700, np.float32)}
    with ocp.CheckpointManager(repo.path / "run", item_handlers=handler) as manager:
        manager.save(1, args=ocp.args.PyTreeSave(weights))
    repo.git("theta", "track", tracked)
    repo.git("add", ".")
    listed = repo.git("theta", "ls-files").splitlines()
    assert listed[0].split()[2:4] == [format, "run/1/default/"]
    assert all(line.split()[2] == format for line in listed)
    shown = repo.git("theta", "show", "run/1")
    assert "2 parameter groups of" in shown
    text = (
        line for line in repo.git("ls-files").splitlines() if line.endswith(("_METADATA", ".txt"))
    )
    assert {repo.git("check-attr", "filter", "--", name).split()[-1] for name in text} == {
        "unspecified"
    }


def test_stores_and_arrays_of_others_are_told_apart() -> None:
    names = ["a/.zarray", "a/0", "b/d/1", "c/zarr.json", "c/c/0", "_CHECKPOINT_METADATA"]
    assert find_zarr(names) == {}  # no tree of Orbax
    assert find_ocdbt(names) == {}
    assert find_zarr([*names, "_METADATA"]) == {
        "": ("*/?*.*", "*/?", "*/??", "*/???", "*/c", "*/c/**")
    }
    assert find_ocdbt(["s/manifest.ocdbt", "s/ocdbt_data/1", "s/ocdbt_meta/2"]) == {
        "s": ("**/ocdbt_data/*", "**/ocdbt_meta/*")
    }
