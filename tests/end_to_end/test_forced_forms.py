"""git theta add --update-type without a file: new groups are stored in the form asked for."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save


def _values():
    rng = np.random.default_rng(7)
    return {f"layer.{n}.weight": rng.standard_normal((192, 128), np.float32) for n in range(3)}


@pytest.fixture
def committed(tracked):
    """A repository with one committed checkpoint, ``m.safetensors``."""
    tracked.write("m.safetensors", save(_values()))
    tracked.commit("Model")
    return tracked


def _assert_clone_has(desk, name):
    desk.git("commit", "--quiet", "--message", "Update")
    assert desk.status() == ""
    assert desk.clone("clone").read(name) == desk.read(name)
    assert desk.theta("fsck").returncode == 0


def test_an_unknown_update_type_is_refused_with_those_that_there_are(committed):
    said = committed.refused("git", "theta", "add", "m.safetensors", "--update-type", "magic")
    assert "No update type 'magic' is installed, expected one of" in said
    assert "dense" in said


def test_a_form_can_be_forced(committed):
    values = _values()
    values["layer.0.weight"] = values["layer.0.weight"] + np.float32(1e-4)
    values["layer.1.weight"] = values["layer.1.weight"] * np.float32(1.5)
    committed.write("m.safetensors", save(values))
    dense = committed.theta("add", "m.safetensors", "--update-type", "dense", "--json")
    forms = [group["update_type"] for group in json.loads(dense.stdout)[0]["groups"]]
    assert forms == ["dense", "dense"]
    values["layer.0.weight"] = values["layer.0.weight"] + np.float32(1e-4)
    values["layer.1.weight"] = values["layer.1.weight"] * np.float32(-3.5)  # delta saves nothing
    committed.write("m.safetensors", save(values))
    printed = committed.theta("add", "m.safetensors", "--update-type", "delta").stdout
    assert "m.safetensors: 2 of 2 new parameter groups are stored as delta" in printed
    _assert_clone_has(committed, "m.safetensors")


def test_groups_that_a_forced_form_cannot_tell_are_stored_all_the_same(committed):
    values = _values() | {"new": np.random.default_rng(5).standard_normal((128, 128))}
    committed.write("m.safetensors", save(values))
    printed = committed.theta("add", "m.safetensors", "--update-type", "delta").stdout
    assert "0 of 1 new parameter groups are stored as delta" in printed
    assert "1 as dense: delta cannot tell them" in printed
    _assert_clone_has(committed, "m.safetensors")


def test_the_names_of_update_types_are_completed(committed):
    words = {"COMP_WORDS": "git-theta add --update-type de", "COMP_CWORD": "3"}
    done = committed.run("git-theta", _GIT_THETA_COMPLETE="bash_complete", **words)
    assert done.stdout.split() == ["plain,delta", "plain,dense"]


def test_json_tells_what_an_add_stored(committed):
    committed.write("m.safetensors", save(_values() | {"new": np.zeros((128, 128))}))
    told = json.loads(committed.theta("add", "m.safetensors", "--json").stdout)
    assert [one["path"] for one in told] == ["m.safetensors"]
    assert [group["name"] for group in told[0]["groups"]] == ["new"]
    assert sum(group["bytes"] for group in told[0]["groups"]) < told[0]["bytes"]


def test_a_file_with_an_update_needs_its_kind(committed):
    said = committed.refused("git", "theta", "add", "m.safetensors", "--update-path", ".")
    assert "--update-path needs --update-type" in said
