"""Models that Keras and TensorFlow trained, saved in every way, through git and back.

One process of the framework makes them, one loads what was checked out: both take seconds.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from needs_framework import require
from safetensors.numpy import save_file

from git_theta.formats.detect import detect
from git_theta.plugins import installed
from git_theta.source import BytesSource, Source
from git_theta.testing.values import read_values

SCRIPT = Path(__file__).with_name("train.py")
DATA = ".data-00000-of-00001"


def run_tensorflow(*arguments: str | Path) -> str:
    require("tensorflow")
    done = subprocess.run(
        [sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with two stages of a model, saved in every way, and with what they predict."""
    folder = tmp_path_factory.mktemp("trained")
    run_tensorflow("make", folder)
    yield folder
    shutil.rmtree(folder)


def copy(folder: Path, repository: Path) -> None:
    # as a framework writes them, with the time of now: git looks at that and the size first
    shutil.copytree(folder, repository, dirs_exist_ok=True, copy_function=shutil.copyfile)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if path.name != ".gitattributes"
    }


@pytest.fixture
def committed(desk, trained):
    """A repository with both stages, each a commit."""
    for name in ("*.keras", "*.h5"):
        desk.git("theta", "track", name)
    for stage in ("base", "tuned"):
        copy(trained / stage, desk.path)
        if stage == "base":
            for folder in ("saved_model", "objects", "sharded"):
                desk.git("theta", "track", f"{folder}/")
            desk.write("sharded/notes.txt", b"fine\n")
        desk.commit(stage)
        desk.git("tag", stage)
    return desk


def listed(desk, revision="HEAD"):
    rows = json.loads(desk.git("theta", "ls-files", "--json", revision))
    return {row["path"]: row for row in rows}


def groups(desk, path, revision="HEAD"):
    shown = json.loads(desk.git("theta", "show", "--json", f"{revision}:{path}"))
    return {group["name"]: group for group in shown["groups"]}


def test_every_file_is_found_and_the_framework_predicts_as_before(committed, trained):
    rows = listed(committed)
    kinds = {path: row["format"] for path, row in rows.items()}
    assert kinds == {
        "legacy.h5": "hdf5",
        "model.keras": "keras",
        "model.weights.h5": "hdf5",
        "objects/ckpt-1" + DATA: "tensorflow",
        "objects/ckpt-1.index": "unknown",
        "saved_model/variables/variables" + DATA: "tensorflow",
        "saved_model/variables/variables.index": "unknown",
        "sharded/model.data-00000-of-00002": "tensorflow",
        "sharded/model.data-00001-of-00002": "tensorflow",
        "sharded/model.index": "unknown",
    }
    assert rows["sharded/model.index"]["checkpoint"] == "sharded/"
    assert rows["saved_model/variables/variables.index"]["checkpoint"] == "saved_model/"
    lines = committed.attributes.decode().splitlines()
    assert "saved_model/variables/*.index filter=theta -text" in lines
    assert committed.status() == ""

    clone = committed.clone("clone")
    for stage in ("base", "tuned"):
        clone.git("checkout", "--quiet", stage)
        found = contents(clone.path)
        found.pop("sharded/notes.txt")
        assert found == contents(trained / stage)
        assert clone.status() == ""
        assert "the same answers" in run_tensorflow("check", trained, clone.path, stage)


def test_groups_have_the_values_that_the_framework_has(committed, trained):
    kept = np.load(trained / "answers.npz")
    named = groups(committed, "sharded")
    values = {n.removeprefix("tuned/values/"): kept[n] for n in kept if "tuned/values/" in n}
    assert named.keys() == values.keys() | {"brain", "quantized"}
    assert {name: named[name]["shape"] for name in values} == {
        name: list(value.shape) for name, value in values.items()
    }
    assert (named["brain"]["dtype"], named["quantized"]["dtype"]) == ("BF16", "I8")


SAVE_WITH_FLAX = """
import pathlib, sys
import numpy as np
from flax import serialization
pathlib.Path(sys.argv[2]).write_bytes(serialization.to_bytes(dict(np.load(sys.argv[1]))))
"""


def test_the_ways_to_save_share_the_groups_that_are_equal(committed, trained):
    """Every way has the same bytes for a variable, so each is stored once; safetensors as well."""
    import torch

    require("flax")

    kept = np.load(trained / "answers.npz")
    weights = {
        name.removeprefix("base/values/"): kept[name] for name in kept if "base/values/" in name
    }
    save_file(weights, committed.path / "same.safetensors")
    torch.save({n: torch.from_numpy(v) for n, v in weights.items()}, committed.path / "same.pt")
    np.savez(committed.path / "same.npz", **weights)
    by_flax = [committed.path / name for name in ("same.npz", "same.msgpack")]
    subprocess.run([sys.executable, "-c", SAVE_WITH_FLAX, *by_flax], check=True)
    kept_before = set(committed.packs())
    committed.git("theta", "track", "same.*")
    committed.commit("The same weights elsewhere")
    digests = {
        path: {group["blake3"] for group in groups(committed, path, revision).values()}
        for path, revision in [
            ("same.safetensors", "HEAD"),
            ("same.pt", "HEAD"),
            ("same.npz", "HEAD"),
            ("same.msgpack", "HEAD"),
            ("model.keras", "base"),
            ("model.weights.h5", "base"),
            ("legacy.h5", "base"),
            ("sharded", "base"),
            ("objects", "base"),
        ]
    }
    same = digests.pop("same.safetensors")
    assert len(same) >= 8
    for path, found in digests.items():
        assert same <= found, f"{path} lacks {len(same - found)} of {len(same)}"
    assert groups(committed, "saved_model", "base").keys()
    new = sum(
        committed.packs()[name].stat().st_size for name in set(committed.packs()) - kept_before
    )
    assert new < 40_000  # structure alone: the weights have 115 KB


def as_safetensors(folder: Path, target: Path) -> None:
    """The groups that are found in a folder's files, as one safetensors file."""
    values = {}
    for path in folder.rglob("*"):
        if path.is_file():
            file = BytesSource(path.read_bytes())
            found = detect(file, path.name, installed(), lambda name: beside(folder, name))
            for name, (_, shape, data) in read_values(file, found.layout).items():
                values[name] = np.frombuffer(data, "u1").reshape(*shape, -1)
    assert values
    save_file(values, target)


def beside(folder: Path, name: str) -> Source | None:
    found = list(folder.rglob(name))
    return BytesSource(found[0].read_bytes()) if found else None


def growth(desk, folders):
    """Bytes of packs that the last of some versions added to a new repository."""
    place = desk.at(Path(tempfile.mkdtemp(dir=desk.path.parent)))
    place.git("init", "--quiet")
    place.git("theta", "track", "*.h5", "*.index", "*.data-*", "*.safetensors")
    sizes = [0]
    for folder in folders:
        copy(folder, place.path)
        place.commit("A version")
        sizes.append(sum(pack.stat().st_size for pack in place.packs().values()))
    return sizes[-1] - sizes[-2]


@pytest.mark.parametrize("name", ["model.weights.h5", "objects"])
def test_a_fine_tuned_version_takes_what_it_takes_as_safetensors(desk, trained, tmp_path, name):
    ours, peers = [], []
    for stage in ("base", "tuned"):
        ours.append(tmp_path / "ours" / stage)
        peers.append(tmp_path / "peers" / stage)
        ours[-1].mkdir(parents=True)
        peers[-1].mkdir(parents=True)
        source = trained / stage / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, ours[-1] / name)
        as_safetensors(ours[-1], peers[-1] / "m.safetensors")
    size, peer = growth(desk, ours), growth(desk, peers)
    assert size <= 1.02 * peer + 1024, f"{size} bytes, safetensors {peer}"


def test_an_update_keeps_the_checksums_that_tensorflow_asks_for(committed, trained, tmp_path):
    name = "small/first/kernel"
    new = np.arange(16 * 160, dtype=np.float32).reshape(16, 160)
    save_file({name: new}, tmp_path / "update.safetensors")
    path = next(
        p for p in ("0", "1") if name in groups(committed, f"sharded/model.data-0000{p}-of-00002")
    )
    told = ("--update-type", "dense", "--update-path", str(tmp_path / "update.safetensors"))
    committed.git("theta", "add", f"sharded/model.data-0000{path}-of-00002", *told)
    assert committed.status().split() == [
        "M",
        f"sharded/model.data-0000{path}-of-00002",
        "M",
        "sharded/model.index",
    ]
    prefix = str(committed.path / "sharded" / "model")
    run_tensorflow("read", prefix, tmp_path / "read.npz")
    read = np.load(tmp_path / "read.npz")
    assert np.array_equal(read[f"{prefix}:{name}"], new)
    kept = np.load(trained / "answers.npz")
    assert np.array_equal(
        read[f"{prefix}:small/last/kernel"], kept["tuned/values/small/last/kernel"]
    )
