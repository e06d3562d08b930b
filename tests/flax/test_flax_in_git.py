"""Checkpoints of a real training in real repositories: exact, quiet, small, and they predict."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax_oracle as oracle
import numpy as np
import orbax.checkpoint as ocp
import pytest
import torch
import training
from flax import nnx, serialization
from safetensors.numpy import save_file

WHOLE = {"msgpack": 1.02, "zarr": 1.02, "zarr3": 1.02, "ocdbt": 1.02}
WHOLE |= {"compressed zarr": 1.05, "as Orbax saves": 1.05}
WHOLE["compressed zarr3"] = 1.25  # at a higher level, which finds more matches in bfloat16
"""Forms in which arrays lie whole: what they may take, safetensors' being 1."""

PLAIN_SIZES: list[int] = []  # measured once

Repository = Any  # of tests/conftest.py
MakeRepository = Callable[[str], Repository]


@pytest.fixture
def theta_repo(make_repo: MakeRepository) -> MakeRepository:
    """Makes a repository in which git-theta is installed."""

    def make(name: str) -> Repository:
        repo = make_repo(name)
        repo.git("theta", "install", "--local")
        return repo

    return make


def commit(repo: Repository, message: str) -> None:
    repo.git("add", "--all")
    repo.git("commit", "--quiet", "--message", message)
    assert repo.git("status", "--porcelain") == ""


def stored(repo: Repository) -> int:
    """Bytes of all packs."""
    packs = (repo.path / ".git/theta/objects").glob("?" * 64)
    return sum(pack.stat().st_size for pack in packs)


def files(path: Path) -> dict[str, bytes]:
    """The files of a checkpoint, which may be one."""
    found = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path.parent)): file.read_bytes() for file in found}


def save_safetensors(state: Any, path: Path) -> None:
    arrays = oracle.find_arrays(serialization.to_state_dict(state))
    save_file({name: np.asarray(array) for name, array in arrays.items()}, path)


@pytest.fixture
def plain_sizes(theta_repo: MakeRepository) -> list[int]:
    """What the same two versions take as safetensors, the second in addition to the first."""
    if PLAIN_SIZES:
        return PLAIN_SIZES
    repo = theta_repo("plain")
    repo.git("theta", "track", "*.safetensors")
    sizes = [0]
    for version in (1, 2):
        save_safetensors(training.train(version), repo.path / "model.safetensors")
        commit(repo, f"Version {version}")
        sizes.append(stored(repo))
    PLAIN_SIZES.extend((sizes[1], sizes[2] - sizes[1]))
    return PLAIN_SIZES


@pytest.mark.parametrize("name", training.FORMS)
def test_checkpoints_are_exact_quiet_and_small_and_predict_the_same(
    name: str, theta_repo: MakeRepository, plain_sizes: list[int]
) -> None:
    form, repo = training.FORMS[name], theta_repo("repo")
    path = repo.path / form.path
    versions, sizes = [], [0]
    for version in (1, 2):
        state = training.train(version)
        form.save(state, path)
        if version == 1:
            repo.git("theta", "track", f"{form.path}/" if path.is_dir() else form.path)
        commit(repo, f"Version {version}")
        versions.append((files(path), training.predict(state.params)))
        sizes.append(stored(repo))
    assert versions[0][1] != versions[1][1]
    if name in WHOLE:  # a piece of a matrix is a matrix of its own, and may fit another update
        assert sizes[1] <= WHOLE[name] * plain_sizes[0]
        assert sizes[2] - sizes[1] <= WHOLE[name] * plain_sizes[1]
    assert form.format in repo.git("theta", "ls-files")
    clone = theta_repo("clone")
    clone.git("remote", "add", "origin", str(repo.path))
    clone.git("fetch", "--quiet", "origin")
    revisions = ("origin/main~1", "origin/main")
    for revision, (saved, predicted) in zip(revisions, versions, strict=True):
        clone.git("checkout", "--quiet", revision)
        assert files(clone.path / form.path) == saved
        assert training.predict(form.load(clone.path / form.path)) == predicted
        assert clone.git("status", "--porcelain") == ""


def test_nnx_states_are_seen_in_msgpack_and_orbax(theta_repo: MakeRepository) -> None:
    repo = theta_repo("repo")
    network = nnx.Linear(40, 50, rngs=nnx.Rngs(0))
    state = nnx.to_pure_dict(nnx.state(network))
    (repo.path / "model.msgpack").write_bytes(serialization.to_bytes(state))
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=False, use_compression=False)
    with ocp.Checkpointer(handler) as checkpointer:
        checkpointer.save(repo.path / "pure", state)
        checkpointer.save(repo.path / "whole", nnx.state(network))
    repo.git("theta", "track", "*.msgpack", "pure/", "whole/")
    commit(repo, "Network")
    groups = {path: shown(repo, path) for path in ("model.msgpack", "pure", "whole")}
    assert groups["model.msgpack"] == groups["pure"]
    assert set(groups["pure"]) == {"kernel", "bias"}
    assert set(groups["whole"]) == {"kernel.value", "bias.value"}
    assert sorted(groups["whole"].values()) == sorted(groups["pure"].values())


def shown(repo: Repository, path: str) -> dict[str, str]:
    """The digests of a checkpoint's groups, by name."""
    found = json.loads(repo.git("theta", "show", path, "--json"))
    return {group["name"]: group["blake3"] for group in found["groups"]}


def test_equal_weights_are_stored_once_whatever_they_are_saved_by(
    theta_repo: MakeRepository,
) -> None:
    rng = np.random.default_rng(3)
    weights = {name: rng.standard_normal((300, 200), np.float32) for name in ("a", "b")}
    repo = theta_repo("repo")
    repo.git("theta", "track", "*.safetensors", "*.pt", "*.msgpack")
    save_file(weights, repo.path / "model.safetensors")
    commit(repo, "safetensors")
    taken = stored(repo)
    torch.save({n: torch.from_numpy(w) for n, w in weights.items()}, repo.path / "model.pt")
    (repo.path / "model.msgpack").write_bytes(serialization.msgpack_serialize(dict(weights)))
    for folder, ocdbt in (("zarr", False), ("ocdbt", True)):
        handler = ocp.PyTreeCheckpointHandler(use_ocdbt=ocdbt, use_compression=False)
        with ocp.Checkpointer(handler) as checkpointer:
            checkpointer.save(repo.path / folder, weights)
        repo.git("theta", "track", f"{folder}/")
    commit(repo, "The same by torch, flax and Orbax")
    names = ("model.safetensors", "model.pt", "model.msgpack", "zarr", "ocdbt")
    first, *others = [shown(repo, name) for name in names]
    assert len(first) == 2
    assert all(other == first for other in others)
    assert stored(repo) - taken < 10_000
