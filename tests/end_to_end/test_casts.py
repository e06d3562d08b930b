"""A model that is kept in two precisions: the second one costs next to nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
save = pytest.importorskip("safetensors.torch").save

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
EIGHT_BITS = torch.float8_e4m3fn


def normal(seed, scale):
    random = np.random.default_rng(seed)
    draw = {f"layer.{n}": random.normal(0, scale, (300, 200)) for n in range(6)}
    return {name: torch.from_numpy(values).float() for name, values in draw.items()}


@pytest.fixture
def weights():
    return normal(0, 0.02)


def cast(weights, dtype):
    return save({name: value.to(DTYPES[dtype]) for name, value in weights.items()})


def updates(desk, path):
    rows = json.loads(desk.theta("du", "--by", "group", "--json", "--", path).stdout)["rows"]
    return {update for row in rows if row["kind"] == "group" for update in row["updates"]}


@pytest.mark.parametrize("second", ["BF16", "F16"])
@pytest.mark.parametrize("path", ["model.safetensors", "half.safetensors"])
def test_a_cast_of_a_model_is_found_at_its_path_and_at_another(tracked, weights, path, second):
    tracked.write("model.safetensors", cast(weights, "F32"))
    tracked.commit("Trained")
    before = sum(pack.stat().st_size for pack in tracked.packs().values())
    half = cast(weights, second)
    tracked.write(path, half)
    tracked.commit("Cast")
    assert updates(tracked, path) == {"cast"}
    added = sum(pack.stat().st_size for pack in tracked.packs().values()) - before
    assert added < len(half) / 100
    (tracked.path / path).unlink()
    tracked.git("checkout", "--", path)
    assert (tracked.read(path), tracked.status()) == (half, "")
    tracked.git("theta", "fsck")
    tracked.git("theta", "repack")
    tracked.git("checkout", "HEAD~1")
    assert tracked.read("model.safetensors") == cast(weights, "F32")


def test_a_model_in_f32_stands_on_the_half_that_it_was_made_of(tracked, weights):
    half = {name: value.bfloat16() for name, value in weights.items()}
    tracked.write("half.safetensors", save(half))
    tracked.commit("Half")
    tracked.write("whole.safetensors", cast(half, "F32"))
    tracked.commit("Whole")
    assert updates(tracked, "whole.safetensors") == {"cast"}


def test_the_same_precision_is_stood_on_where_both_are_there(tracked, weights):
    tracked.write("model.safetensors", cast(weights, "F32"))
    tracked.commit("Trained")
    tracked.write("half.safetensors", cast(weights, "BF16"))
    tracked.commit("Cast")
    step = normal(1, 1e-4)
    trained = {name: value + step[name] for name, value in weights.items()}
    tracked.write("half.safetensors", cast(trained, "BF16"))
    tracked.commit("Trained on")
    assert updates(tracked, "half.safetensors") == {"delta"}


def test_a_cast_that_would_cost_too_much_to_read_is_stored_by_itself(tracked, weights):
    tracked.write("model.safetensors", cast(weights, "F32"))
    tracked.commit("Trained")
    eighths = save({name: value.to(EIGHT_BITS) for name, value in weights.items()})
    tracked.write("small.safetensors", eighths)
    tracked.commit("Cast to less than a third of what reading the base takes")
    assert updates(tracked, "small.safetensors") == {"dense"}
