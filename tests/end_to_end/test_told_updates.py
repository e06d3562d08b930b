"""git theta add --update-type, --update-path: factors in, a new checkpoint out, factors stored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save, save_file

ROWS, COLUMNS, RANK = 192, 128, 4


def _values(dtype=np.float32):
    rng = np.random.default_rng(7)
    weights = {f"layer.{n}.weight": rng.standard_normal((ROWS, COLUMNS)) for n in range(3)}
    return {
        name: value.astype(dtype)
        for name, value in (weights | {"layer.0.bias": rng.standard_normal(ROWS)}).items()
    }


def _factors(seed=1):
    rng = np.random.default_rng(seed)
    left = rng.standard_normal((ROWS, RANK)).astype(np.float32) / 64
    return left, rng.standard_normal((RANK, COLUMNS)).astype(np.float32)


def _adapter(folder: Path, **settings):
    """A LoRA adapter of layers 0 and 1, as PEFT's save_pretrained writes it."""
    folder.mkdir()
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 8, "target_modules": ["layer.0"]}
    (folder / "adapter_config.json").write_text(json.dumps(config | settings))
    tensors = {}
    for layer in range(2):
        left, right = _factors(layer)
        tensors[f"base_model.model.layer.{layer}.lora_B.weight"] = left
        tensors[f"base_model.model.layer.{layer}.lora_A.weight"] = right
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def _state(desk, name):
    """All that a refused command must leave as it was."""
    stat = (desk.path / name).stat()
    blob = desk.git("ls-files", "-s")
    return desk.read(name), stat.st_mtime_ns, stat.st_mode, blob, set(desk.packs())


def _update(desk, name, kind, source, *options):
    done = desk.theta("add", name, "--update-type", kind, "--update-path", str(source), *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def committed(tracked):
    """A repository with one committed checkpoint, ``m.safetensors``."""
    tracked.write("m.safetensors", save(_values(), {"made": "by hand"}))
    tracked.commit("Model")
    return tracked


def _assert_clone_has(desk, name, commit="Update"):
    desk.git("commit", "--quiet", "--message", commit)
    assert desk.status() == ""
    assert desk.clone("clone").read(name) == desk.read(name)
    assert desk.theta("fsck").returncode == 0


def test_low_rank_factors_change_the_file_and_only_they_are_stored(committed, tmp_path):
    left, right = _factors()
    save_file({"layer.1.weight/R": left, "layer.1.weight/C": right}, tmp_path / "u.safetensors")
    before, packs = _values(), committed.packs()
    told = json.loads(
        _update(committed, "m.safetensors", "low-rank", tmp_path / "u.safetensors", "--json")
    )
    after = load(committed.read("m.safetensors"))
    expected = before["layer.1.weight"].astype(np.float64) + left.astype(np.float64) @ right
    np.testing.assert_allclose(after.pop("layer.1.weight"), expected, rtol=1e-6, atol=1e-6)
    assert all(np.array_equal(before[name], value) for name, value in after.items())
    assert committed.read("m.safetensors").count(b"by hand") == 1
    (group,) = told[0]["groups"]
    assert (group["name"], group["update_type"]) == ("layer.1.weight", "low-rank")
    assert told[0]["updated"] == [{"name": "layer.1.weight", "rank": RANK}]
    stored = sum(
        path.stat().st_size for name, path in committed.packs().items() if name not in packs
    )
    assert stored == told[0]["bytes"] < 4 * (left.size + right.size) + 1024
    _assert_clone_has(committed, "m.safetensors")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_pytorch_file_takes_factors_from_nested_dicts(tracked, tmp_path, dtype):
    base = {"layer.weight": torch.randn(256, 128).to(dtype), "step": 3}
    torch.save({"model": base}, tracked.path / "m.pt")
    tracked.commit("Model")
    left, right = torch.randn(256, 2) / 16, torch.randn(2, 128)
    torch.save({"model": {"layer.weight": {"R": left, "C": right}}}, tmp_path / "u.pt")
    printed = _update(tracked, "m.pt", "low-rank", tmp_path / "u.pt")
    assert "rank 2" in printed
    assert "Updated 1 parameter group of m.pt" in printed
    after = torch.load(tracked.path / "m.pt", weights_only=True)["model"]
    assert after["step"] == 3
    expected = base["layer.weight"].double() + left.double() @ right.double()
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(after["layer.weight"].double(), expected, rtol=eps, atol=eps)
    _assert_clone_has(tracked, "m.pt")


@pytest.mark.parametrize(
    ("settings", "scaling"),
    [
        ({}, 2.0),
        ({"use_rslora": True}, 4.0),
        ({"alpha_pattern": {"layer.[01]": 16}}, 4.0),
        ({"r": 2, "rank_pattern": {"^layer.0": 4, "1": 4}}, 2.0),
    ],
)
def test_an_adapter_folder_is_merged_as_peft_would(committed, tmp_path, settings, scaling):
    printed = _update(
        committed, "m.safetensors", "low-rank", _adapter(tmp_path / "lora", **settings)
    )
    assert "Updated 2 parameter groups" in printed
    after, before = load(committed.read("m.safetensors")), _values()
    for layer in range(2):
        left, right = _factors(layer)
        name = f"layer.{layer}.weight"
        expected = before[name] + scaling * (left.astype(np.float64) @ right)
        np.testing.assert_allclose(after[name], expected, rtol=2e-6, atol=2e-6)
    _assert_clone_has(committed, "m.safetensors")


def test_an_adapter_of_a_pytorch_file_names_its_rank(committed, tmp_path):
    folder = _adapter(tmp_path / "lora")
    weights = folder / "adapter_model.safetensors"
    tensors = {name: torch.from_numpy(value) for name, value in load(weights.read_bytes()).items()}
    torch.save(tensors, folder / "adapter_model.bin")
    expected = json.loads(_update(committed, "m.safetensors", "low-rank", weights, "--json"))
    updated = committed.read("m.safetensors")
    committed.git("reset", "--quiet", "--hard")
    weights.unlink()
    found = json.loads(_update(committed, "m.safetensors", "low-rank", folder, "--json"))
    assert found[0]["updated"] == expected[0]["updated"]
    assert [one["rank"] for one in found[0]["updated"]] == [RANK, RANK]
    assert committed.read("m.safetensors") == updated


def test_an_adapter_of_another_kind_is_refused(committed, tmp_path):
    said = committed.refused(
        *("git", "theta", "add", "m.safetensors", "--update-type", "sparse"),
        *("--update-path", str(_adapter(tmp_path / "lora"))),
    )
    assert "expected an update of type sparse, found an adapter of type low-rank" in said
    assert "Say --update-type low-rank" in said


def test_a_first_commit_may_hold_an_update(tracked, tmp_path):
    tracked.write("m.safetensors", save(_values()))
    _update(tracked, "m.safetensors", "low-rank", _adapter(tmp_path / "lora"))
    assert load(tracked.read("m.safetensors"))["layer.0.weight"].shape == (ROWS, COLUMNS)
    assert tracked.read("m.safetensors") != save(_values())
    shown = json.loads(tracked.git("theta", "show", "m.safetensors", "--json"))
    assert len(shown["packs"]) >= 2  # the old values, and the update on top of them
    _assert_clone_has(tracked, "m.safetensors", "First")


def test_sparse_fields_of_the_original_are_added(committed, tmp_path):
    base = _values()["layer.2.weight"]
    at = np.array([5, 64, 4000], np.int64)
    told = {
        "layer.2.weight/data": np.array([1, -2, 0.5], np.float32),
        "layer.2.weight/indices": at,
        "layer.2.weight/indptr": np.array([0, 3], np.int64),
        "layer.2.weight/shape": np.array(base.shape, np.int64),
    }
    np.savez(tmp_path / "u.npz", **told)
    before = committed.packs()
    _update(committed, "m.safetensors", "sparse", tmp_path / "u.npz")
    base.reshape(-1)[at] += told["layer.2.weight/data"]
    assert np.array_equal(load(committed.read("m.safetensors"))["layer.2.weight"], base)
    new = [path for name, path in committed.packs().items() if name not in before]
    assert sum(path.stat().st_size for path in new) < 1024
    _assert_clone_has(committed, "m.safetensors")


def test_many_updates_on_one_group_stay_quick_to_read(committed, tmp_path):
    for step in range(10):
        left, right = _factors(step)
        save_file({"layer.0.weight/R": left, "layer.0.weight/C": right}, tmp_path / "u.safetensors")
        _update(committed, "m.safetensors", "low-rank", tmp_path / "u.safetensors")
        committed.git("commit", "--quiet", "--message", f"Step {step}")
    assert committed.clone("clone").read("m.safetensors") == committed.read("m.safetensors")
    assert committed.theta("fsck").returncode == 0


def test_an_update_without_effect_changes_nothing(committed, tmp_path):
    left, right = _factors()
    save_file({"layer.0.weight/R": 0 * left, "layer.0.weight/C": right}, tmp_path / "u.safetensors")
    before = _state(committed, "m.safetensors")
    printed = _update(committed, "m.safetensors", "low-rank", tmp_path / "u.safetensors")
    assert "Updated 0 parameter groups of m.safetensors, left 1 as they were" in printed
    assert _state(committed, "m.safetensors") == before


def _told(**fields):
    return {f"layer.0.weight/{name}": value for name, value in fields.items()}


_LEFT, _RIGHT = _factors()


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (_told(R=_LEFT), "has no C, expected GROUP/R, GROUP/C"),
        (_told(R=_LEFT, C=_RIGHT, D=_LEFT), "found 'layer.0.weight/D'"),
        ({"layer.9.weight/R": _LEFT, "layer.9.weight/C": _RIGHT}, "the nearest are 'layer."),
        (_told(R=_LEFT.T.copy(), C=_RIGHT), f"Expected R of shape [{ROWS}, rank]"),
        (_told(R=_LEFT[:, :3].copy(), C=_RIGHT), f"found [{ROWS}, 3] and [4, {COLUMNS}]"),
        (_told(R=_LEFT, C=_RIGHT * np.float32("nan")), "C has numbers that are infinite or NaN"),
        (_told(R=_LEFT.astype(np.int32), C=_RIGHT), "R is I32, expected one of"),
        (
            {"layer.0.bias/R": _LEFT, "layer.0.bias/C": _RIGHT},
            f"Group 'layer.0.bias': Expected a matrix to add R @ C to, found [{ROWS}]",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    committed, tmp_path, told, message
):
    fits = {"layer.1.weight/R": _LEFT, "layer.1.weight/C": _RIGHT}
    save_file(fits | told, tmp_path / "u.safetensors")
    before = _state(committed, "m.safetensors")
    said = committed.refused(
        *("git", "theta", "add", "m.safetensors", "--update-type", "low-rank"),
        *("--update-path", str(tmp_path / "u.safetensors")),
    )
    assert message in said
    assert "Traceback" not in said
    assert _state(committed, "m.safetensors") == before
    assert not list(committed.store.glob("tmp/*"))


@pytest.mark.parametrize("kind", ["scale", "ia3"])
def test_a_vector_scales_rows_and_only_it_is_stored(committed, tmp_path, kind):
    old = load(committed.read("m.safetensors"))
    vector = np.linspace(0.5, 1.5, ROWS, dtype=np.float32)[:, None]
    save_file({"layer.1.weight/ia3": vector}, tmp_path / "u.safetensors")
    before = committed.packs()
    _update(committed, "m.safetensors", kind, tmp_path / "u.safetensors")
    new = load(committed.read("m.safetensors"))
    assert np.array_equal(new["layer.1.weight"], old["layer.1.weight"] * vector)
    assert np.array_equal(new["layer.0.weight"], old["layer.0.weight"])
    added = [path for name, path in committed.packs().items() if name not in before]
    assert sum(path.stat().st_size for path in added) < vector.nbytes + 1500
    _assert_clone_has(committed, "m.safetensors")


def test_an_ia3_adapter_folder_scales_outputs_and_their_bias(committed, tmp_path):
    folder, vector = tmp_path / "ia3", np.linspace(0.5, 1.5, ROWS, dtype=np.float32)
    folder.mkdir()
    config = {"peft_type": "IA3", "target_modules": ["layer.0"], "feedforward_modules": []}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    tensors = {"base_model.model.layer.0.ia3_l": vector[:, None]}
    save_file(tensors, folder / "adapter_model.safetensors")
    old = load(committed.read("m.safetensors"))
    _update(committed, "m.safetensors", "scale", folder)
    new = load(committed.read("m.safetensors"))
    assert np.array_equal(new["layer.0.weight"], old["layer.0.weight"] * vector[:, None])
    assert np.array_equal(new["layer.0.bias"], old["layer.0.bias"] * vector)
    _assert_clone_has(committed, "m.safetensors")


def test_a_vector_of_the_wrong_length_is_refused(committed, tmp_path):
    save_file({"layer.1.weight/ia3": np.ones(7, np.float32)}, tmp_path / "u.safetensors")
    before = _state(committed, "m.safetensors")
    said = committed.refused(
        *("git", "theta", "add", "m.safetensors", "--update-type", "ia3"),
        *("--update-path", str(tmp_path / "u.safetensors")),
    )
    assert "layer.1.weight" in said
    assert f"[{ROWS}, {COLUMNS}]" in said
    assert _state(committed, "m.safetensors") == before
