"""``git theta checkout --param``: some groups of a file, for as few packs as they need."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.numpy import load, load_file, save
from safetensors.torch import load_file as load_torch


@pytest.fixture
def parts(tracked, tmp_path):
    """A clone without packs of a model that lies in a pack for each of its three parts."""
    rng = np.random.default_rng(0)
    encoder = {f"encoder.{n}": rng.standard_normal((64, 64), np.float32) for n in range(3)}
    decoder = {f"decoder.{n}": rng.standard_normal((64, 64), np.float32) for n in range(3)}
    head = {"head": rng.standard_normal((8, 64), np.float32), "empty": np.zeros((0, 3), np.float16)}
    for values in (encoder, decoder | encoder, head | decoder | encoder):
        tracked.write("m.safetensors", save(values))
        tracked.commit("More")
    return clone_of(tracked, tmp_path)


def clone_of(desk, tmp_path):
    store = f"remote.origin.thetaStore={desk.store / 'objects'}"
    clone = ["clone", "--quiet", "-c", store, str(desk.path), "clone"]
    desk.git(*clone, cwd=tmp_path, GIT_THETA_SKIP_SMUDGE="1")
    return desk.at(tmp_path / "clone")


def hints(desk, path):
    """The packs that metadata names: name and items."""
    lines = desk.git("show", f"HEAD:{path}").splitlines()
    return {line.split()[1]: line.split()[3] for line in lines if line.startswith("pack ")}


def test_only_packs_of_the_groups_are_fetched(parts, tracked):
    said = parts.theta(
        "checkout", "--param", "encoder.*", "m.safetensors", "-o", "part.safetensors"
    )
    assert said.returncode == 0, said.stderr
    assert "part.safetensors (3 parameter groups)" in said.stderr
    found = load_file(parts.path / "part.safetensors")
    whole = load(tracked.read("m.safetensors"))
    assert found.keys() == {"encoder.0", "encoder.1", "encoder.2"}
    assert all((found[name] == whole[name]).all() for name in found)
    assert len(hints(parts, "m.safetensors")) == 3
    assert len(parts.packs()) == 1
    assert parts.status() == "?? part.safetensors\n"


def test_several_patterns_and_an_earlier_version(parts, tracked):
    options = ["--param", "head", "--param", "e[mn]*", "--param", "decoder.1"]
    parts.git("theta", "checkout", *options, "m.safetensors", "-o", "one.safetensors")
    found, whole = load_file(parts.path / "one.safetensors"), load(tracked.read("m.safetensors"))
    assert found.keys() == whole.keys() - {"decoder.0", "decoder.2"}
    assert all((found[name] == whole[name]).all() for name in found)
    said = parts.refused(
        *("git", "theta", "checkout", "--source", "HEAD~2", "--param", "head"),
        *("m.safetensors", "-o", "old.safetensors"),
    )
    assert "match 'head', found none; it has 'encoder.0', 'encoder.1', 'encoder.2'" in said
    assert not (parts.path / "old.safetensors").exists()


def test_views_are_written_as_what_they_show(tracked, tmp_path):
    base = torch.arange(6000, dtype=torch.float32).reshape(60, 100)
    other = torch.randn(50, 50, dtype=torch.bfloat16)
    values = {
        "base": base,
        "tied": base,
        "slice": base[10:20],
        "turned": base.T,
        "column": base[:, 3],
        "other": other,
    }
    torch.save(values, tracked.path / "m.pt")
    tracked.commit("Views")
    clone = clone_of(tracked, tmp_path)
    clone.git("theta", "checkout", "--param", "[tsco]*", "m.pt", "-o", "part.safetensors")
    found = load_torch(clone.path / "part.safetensors")
    assert found.keys() == values.keys() - {"base"}
    assert all(torch.equal(found[name], values[name]) for name in found)
    clone.git("theta", "checkout", "--param", "tied", "m.pt", "-o", "tied.safetensors")
    assert torch.equal(load_torch(clone.path / "tied.safetensors")["tied"], base)


def test_an_existing_file_is_kept_unless_forced(parts):
    file = parts.write("part.safetensors", b"mine")
    command = ["git", "theta", "checkout", "--param", "head", "m.safetensors", "-o", file.name]
    assert "exists already" in parts.refused(*command)
    assert file.read_bytes() == b"mine"
    parts.git(*command[1:], "--force")
    assert load_file(file).keys() == {"head"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--param", "head", "m.safetensors"],
        ["m.safetensors", "-o", "part"],
        ["--param", "head", "-o", "part"],
        ["--param", "head", "m.safetensors", "n.safetensors", "-o", "part"],
    ],
)
def test_options_that_do_not_go_together_are_refused(parts, arguments):
    assert "go together" in parts.refused("git", "theta", "checkout", *arguments)


def test_a_damaged_pack_leaves_no_file(parts):
    parts.git("theta", "fetch")
    found = hints(parts, "m.safetensors")
    for file in parts.packs().values():
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 0x55
        file.chmod(0o644)
        file.write_bytes(data)
    command = ["--param", "encoder.*", "m.safetensors", "-o", "part.safetensors"]
    said = parts.refused("git", "theta", "checkout", *command)
    assert "group 'encoder." in said
    assert [file.name for file in parts.path.iterdir() if "part" in file.name] == []
    assert len(found) == 3


def test_packs_that_nobody_has_are_named(parts, tracked):
    for file in tracked.packs().values():
        file.unlink()
    command = ["--param", "encoder.0", "m.safetensors", "-o", "part.safetensors"]
    said = parts.refused("git", "theta", "checkout", *command)
    assert "m.safetensors: 1 pack could not be fetched" in said
    assert "does not have them" in said


def test_the_store_of_a_repacked_clone_is_enough(parts, tracked):
    parts.git("theta", "fetch")
    parts.git("theta", "repack")
    parts.git("remote", "remove", "origin")
    parts.git("theta", "checkout", "--param", "*", "m.safetensors", "-o", "all.safetensors")
    found, whole = load_file(parts.path / "all.safetensors"), load(tracked.read("m.safetensors"))
    assert found.keys() == whole.keys()
    assert all((found[name] == whole[name]).all() for name in whole)
