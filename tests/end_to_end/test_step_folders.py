"""Checkpoints of many files that a trainer saves each into a folder of its own."""

from __future__ import annotations

import json

import numpy as np
import pytest

ARRAYS = 30


@pytest.fixture
def save(desk):
    """Saves a step as Orbax does with zarr: a folder for each array, whose chunk is ``0.0``."""
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal((128, 128), np.float32) for _ in range(ARRAYS)]
    said = {
        "zarr_format": 2,
        "shape": [128, 128],
        "chunks": [128, 128],
        "dtype": "<f4",
        "order": "C",
    }
    text = json.dumps({**said, "compressor": None, "filters": None}).encode()

    def step(number):
        for n, array in enumerate(weights):
            if number > 1:
                array[:2] += np.float32(1e-3)
            desk.write(f"run/{number}/default/layer{n}/.zarray", text)
            desk.write(f"run/{number}/default/layer{n}/0.0", array.tobytes())

    return step


def test_a_step_stands_on_the_files_of_the_same_name_in_the_step_before(desk, save):
    desk.git("theta", "track", "run/*/default/*/?*.*")
    save(1)
    desk.commit("One")
    taken = sum(pack.stat().st_size for pack in desk.packs().values())
    save(2)
    desk.commit("Two")
    assert desk.status() == ""
    assert "zarr" in desk.git("theta", "ls-files")
    added = sum(pack.stat().st_size for pack in desk.packs().values()) - taken
    assert added < 0.1 * taken
