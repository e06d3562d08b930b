"""Checkpoints that people published are read as h5py reads them, and as their index says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from needs_framework import needs

from git_theta.formats.detect import Detected, detect
from git_theta.plugins import installed
from git_theta.source import BytesSource, Source
from git_theta.testing.values import read_values

Weights = Callable[[str], Path]
DATA = ".data-00000-of-00001"


def look(path: Path) -> tuple[Source, Detected]:
    def open_beside(name: str) -> Source | None:
        file = path.with_name(name)
        return BytesSource(file.read_bytes()) if file.is_file() else None

    file = BytesSource(path.read_bytes())
    return file, detect(file, path.name, installed(), open_beside)


@pytest.mark.parametrize("number", range(1, 6))
def test_spliceai_in_legacy_hdf5(weights: Weights, number: int) -> None:
    h5py = needs("h5py")
    path = weights("spliceai") / f"spliceai/models/spliceai{number}.h5"
    file, found = look(path)
    values = read_values(file, found.layout)
    assert (found.formats, found.warning) == (("hdf5",), "")
    with h5py.File(path) as opened:
        names: list[str] = []
        opened.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
        assert values.keys() == set(names)
        for name, (_, shape, data) in values.items():
            assert (opened[name].shape, opened[name][()].tobytes()) == (shape, data)


@pytest.mark.parametrize("model", ["MTT_musicnn", "MSD_musicnn"])
def test_musicnn_with_an_empty_prefix(weights: Weights, model: str) -> None:
    _, found = look(weights("musicnn") / "musicnn" / model / DATA)
    names = {tensor.name: tensor for tensor in found.layout.tensors}
    assert (found.formats, found.warning) == (("tensorflow",), "")
    assert len(names) == 150
    assert any(name.endswith("/Adam_1") for name in names)  # a slot of the optimizer


def test_basic_pitch_as_a_saved_model(weights: Weights) -> None:
    folder = weights("basic-pitch") / "basic_pitch/saved_models/icassp_2022/nmp"
    file, found = look(folder / f"variables/variables{DATA}")
    assert (found.formats, found.warning) == (("tensorflow",), "")
    assert len(found.layout.tensors) == 73
    for _, _, data in read_values(file, found.layout).values():
        if len(data) % 4 == 0:
            assert np.isfinite(np.frombuffer(data, "<f4")).all()


def test_published_folders_are_seen_as_checkpoints(weights: Weights) -> None:
    format = installed().format("tensorflow")
    for top, folder in (
        (weights("musicnn") / "musicnn", "MTT_musicnn"),
        (weights("basic-pitch") / "basic_pitch/saved_models/icassp_2022", "nmp"),
    ):
        names = [str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()]
        assert folder in format.folders(names)
        assert f"{folder}/variables" not in format.folders(names)
