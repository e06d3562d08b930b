"""PEFT adapter folders: which groups they tell and what, and which adapters are refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from git_theta.errors import UpdateFileError
from git_theta.formats.detect import detect
from git_theta.plugins import installed
from git_theta.source import BytesSource
from git_theta.told.adapter import find_adapter, read_adapter

_RNG = np.random.default_rng(3)
A, B = (_RNG.standard_normal(shape).astype(np.float32) for shape in ((2, 6), (4, 2)))
PREFIX = "base_model.model."
LINEAR = {f"{PREFIX}q.lora_A.weight": A, f"{PREFIX}q.lora_B.weight": B}


@pytest.fixture
def told(tmp_path):
    """Reads an adapter for a checkpoint whose groups have these shapes."""

    def read(tensors, shapes, **settings):
        config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4} | settings
        (tmp_path / "adapter_config.json").write_text(json.dumps(config))
        save_file(tensors, tmp_path / "adapter_model.safetensors")
        folder, weights = find_adapter(tmp_path)
        model = save({name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
        plugins = installed()
        layout = detect(BytesSource(model), "m", plugins).layout
        source = BytesSource(weights.read_bytes())
        return read_adapter(folder, source, str(weights), layout, plugins)

    return read


def _product(one):
    left, right = (
        np.frombuffer(numbers.data.read(0, numbers.data.size), "<f8").reshape(numbers.shape)
        for numbers in (one.fields()["R"], one.fields()["C"])
    )
    return left @ right.reshape(len(right), -1)


def test_a_linear_layer_gets_the_scaled_product(told):
    (one,) = told(LINEAR, {"q.weight": (4, 6)})
    assert (one.group, one.update_type, one.rank) == ("q.weight", "low-rank", 2)
    np.testing.assert_allclose(_product(one), 2 * B.astype("f8") @ A)


@pytest.mark.parametrize(
    ("settings", "scaling"),
    [
        ({"use_rslora": True}, 4 / math.sqrt(2)),
        ({"alpha_pattern": {"q": 1}}, 0.5),
        ({"alpha_pattern": {"x.q": 1}}, 2),
        ({"r": 8, "rank_pattern": {"q": 2}}, 2),
        ({"alpha_pattern": {"^q": 6}}, 3),
        ({"init_lora_weights": "gaussian", "lora_dropout": 0.1, "loftq_config": {}}, 2),
    ],
)
def test_the_scaling_is_pefts(told, settings, scaling):
    (one,) = told(LINEAR, {"q.weight": (4, 6)}, **settings)
    np.testing.assert_allclose(_product(one), scaling * (B.astype("f8") @ A))


def test_transposed_weights_get_the_transposed_product(told):
    (one,) = told(LINEAR, {"q.weight": (6, 4)}, fan_in_fan_out=True)
    np.testing.assert_allclose(_product(one), 2 * (B.astype("f8") @ A).T)


def test_an_embedding_is_always_transposed(told):
    names = {f"{PREFIX}emb.lora_embedding_{name}": value for name, value in (("A", A), ("B", B))}
    (one,) = told(names, {"emb.weight": (6, 4)})
    np.testing.assert_allclose(_product(one), 2 * (B.astype("f8") @ A).T)


def test_a_convolution_is_a_matrix_of_its_kernels(told):
    kernel = _RNG.standard_normal((2, 3, 3, 3)).astype(np.float32)
    names = {f"{PREFIX}c.lora_A.weight": kernel, f"{PREFIX}c.lora_B.weight": B[:, :, None, None]}
    (one,) = told(names, {"c.weight": (4, 3, 3, 3)}, fan_in_fan_out=True)
    np.testing.assert_allclose(_product(one), 2 * B.astype("f8") @ kernel.reshape(2, -1))
    with pytest.raises(UpdateFileError, match=r"expected .* of shape \[2, 1, 3, 3\]"):
        told(names, {"c.weight": (4, 1, 3, 3)})


def test_modules_that_were_trained_as_a_whole_replace_theirs(told):
    whole = {f"{PREFIX}head.weight": B, f"{PREFIX}q.base_layer.bias": B[0]}
    found = told(LINEAR | whole, {"q.weight": (4, 6), "head.weight": (4, 2), "q.bias": (2,)})
    kinds = {one.group: one.update_type for one in found}
    assert kinds == {"head.weight": "dense", "q.bias": "dense", "q.weight": "low-rank"}
    values = found[0].fields()["parameter"]
    assert bytes(values.data.read(0, values.data.size)) == B.tobytes()


@pytest.mark.parametrize("group", ["model.q.weight", "q.weight", "state/q.weight"])
def test_names_in_front_of_a_group_may_differ(told, group):
    assert told(LINEAR, {group: (4, 6), "model.qq.weight": (4, 6)})[0].group == group


def test_an_adapter_of_a_larger_model_finds_its_groups(told):
    names = {name.replace(PREFIX, PREFIX + "wrapper."): value for name, value in LINEAR.items()}
    assert told(names, {"q.weight": (4, 6)})[0].group == "q.weight"


@pytest.mark.parametrize("groups", [["other.weight"], ["a.q.weight", "b.q.weight"]])
def test_a_module_without_exactly_one_group_is_refused(told, groups):
    with pytest.raises(UpdateFileError, match="expected one parameter group for"):
        told(LINEAR, dict.fromkeys(groups, (4, 6)))


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dora": True},
        {"lora_bias": True},
        {"target_parameters": ["experts"]},
        {"trainable_token_indices": [1]},
        {"layer_replication": [[0, 1]]},
        {"something_new": {"a": 1}},
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "pissa_niter_4"},
        {"init_lora_weights": "olora"},
        {"init_lora_weights": "loftq"},
        {"init_lora_weights": 7},
    ],
)
def test_what_changes_weights_in_unknown_ways_is_refused(told, settings):
    (name,) = settings
    with pytest.raises(UpdateFileError, match=name):
        told(LINEAR, {"q.weight": (4, 6)}, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"peft_type": "LOHA"}, "peft_type LORA or IA3, found 'LOHA'"),
        ({"peft_type": None}, "found None"),
        ({"r": 0}, "r is 0, expected a number"),
        ({"r": "2"}, "r is 2, expected a number"),
        ({"lora_alpha": float("nan")}, "lora_alpha is nan"),
        ({"rank_pattern": [1]}, "rank_pattern is a list"),
        ({"rank_pattern": {"q": 0.5}}, "expected ranks"),
        ({"alpha_pattern": {"(a*)*b": 1}}, "at most two repeats"),
        ({"alpha_pattern": {".*.*.*b": 1}}, "at most two repeats"),
        ({"alpha_pattern": {"(q": 1}}, "at most two repeats"),
        ({"alpha_pattern": {"a{1,9}": 1}}, "at most two repeats"),
        ({"r": 4}, "of rank 4, as adapter_config.json has it, found shapes"),
    ],
)
def test_settings_that_make_no_sense_are_refused(told, settings, message):
    with pytest.raises(UpdateFileError, match=message):
        told(LINEAR, {"q.weight": (4, 6)}, **settings)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({f"{PREFIX}q.lora_A.weight": A}, "expected lora_A and lora_B of q, found 'lora_A'"),
        (LINEAR | {f"{PREFIX}q.lora_magnitude_vector": B[0]}, "cannot be told as factors"),
        (LINEAR | {f"{PREFIX}q.lora_B.bias": B[0]}, "cannot be told as factors"),
        ({}, "expected an adapter's weights"),
    ],
)
def test_weights_that_are_no_pairs_are_refused(told, tensors, message):
    with pytest.raises(UpdateFileError, match=message):
        told(tensors, {"q.weight": (4, 6)})


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 10_000, "\xff"])
def test_a_malformed_configuration_is_refused(tmp_path, text):
    (tmp_path / "adapter_config.json").write_text(text, "latin-1")
    save_file(LINEAR, tmp_path / "adapter_model.safetensors")
    folder, weights = find_adapter(tmp_path)
    layout = detect(BytesSource(b""), "m", installed()).layout
    with pytest.raises(UpdateFileError, match="Cannot read"):
        read_adapter(folder, BytesSource(weights.read_bytes()), "a", layout, installed())


def test_a_folder_without_an_adapter_is_refused_and_a_file_is_none(tmp_path):
    with pytest.raises(UpdateFileError, match=r"with adapter_config\.json, found none"):
        find_adapter(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UpdateFileError, match=r"adapter_model\.safetensors or adapter_model\.bin"):
        find_adapter(tmp_path)
    weights = tmp_path / "adapter_model.bin"
    weights.touch()
    assert find_adapter(tmp_path) == find_adapter(weights) == (tmp_path, weights)
    assert find_adapter(tmp_path / "adapter_config.json") is None


@pytest.mark.parametrize(
    ("vector", "settings", "expected"),
    [
        ((4, 1), {}, {"q.bias": (4,), "q.weight": (4, 1)}),
        ((1, 6), {}, {"q.weight": (1, 6)}),
        ((4, 1), {"fan_in_fan_out": True}, {"q.bias": (4,), "q.weight": (1, 4)}),
    ],
    ids=["outputs", "inputs", "transposed"],
)
def test_ia3_scales_a_weight_and_the_bias_of_scaled_outputs(told, vector, settings, expected):
    """As ``Linear.merge`` in ``peft/tuners/ia3/layer.py``."""
    shapes = {"q.weight": (6, 4) if settings else (4, 6), "q.bias": (4,), "k.weight": (4, 6)}
    tensors = {f"{PREFIX}q.ia3_l": np.ones(vector, np.float32)}
    found = told(tensors, shapes, peft_type="IA3", feedforward_modules=["q"], **settings)
    assert {one.update_type for one in found} == {"scale"}
    assert {one.group: one.fields()["ia3"].shape for one in found} == expected


@pytest.mark.parametrize("shape", [(1, 1), (4, 6), (4,)])
def test_an_ia3_vector_along_no_axis_is_refused(told, shape):
    tensors = {f"{PREFIX}q.ia3_l": np.ones(shape, np.float32)}
    with pytest.raises(UpdateFileError, match=r"of shape \[out, 1\] or \[1, in\]"):
        told(tensors, {"q.weight": (4, 6)}, peft_type="IA3")
