"""Checkpoints of several files, by the toy plugin: its numbers mean nothing without their index."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

TOY = Path(__file__).parents[1] / "third_party" / "theta-toy" / "src"


@pytest.fixture
def toy(desk, tmp_path):
    """A user who has installed the toy plugin and tracks its files."""
    info = tmp_path / "theta_toy-3.1.4.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theta-toy\nVersion: 3.1.4\n")
    (info / "entry_points.txt").write_text("[git_theta]\ntoy = theta_toy.plugin\n")
    desk.env["PYTHONPATH"] = os.pathsep.join((str(tmp_path), str(TOY)))
    desk.git("theta", "track", "*.toyd", "*.toyi")
    return desk


def save(desk, name="model", seed=0, folder="sub", counts=(300, 20)):
    """Write a checkpoint of two groups; what both files hold."""
    rng = np.random.default_rng(seed)
    parts = {f"group{n}": rng.standard_normal(c, dtype=np.float32) for n, c in enumerate(counts)}
    data = b"".join(part.tobytes() for part in parts.values())
    index = "".join(f"{n} {p.size} {zlib.crc32(p.tobytes()):08x}\n" for n, p in parts.items())
    desk.write(f"{folder}/{name}.toyd", data)
    desk.write(f"{folder}/{name}.toyi", index.encode())
    return data, index.encode()


def formats(desk, revision=""):
    listed = desk.git("theta", "ls-files", "--json", *([revision] if revision else []))
    return {row["path"]: row["format"] for row in json.loads(listed)}


def test_a_file_is_read_by_what_lies_beside_it(toy):
    data, index = save(toy)
    toy.commit("One")
    assert formats(toy)["sub/model.toyd"] == "toy-parts"
    shown = toy.git("theta", "show", "sub/model.toyd")
    assert "group0" in shown
    assert "group1" in shown
    assert toy.status() == ""
    clone = toy.clone("clone")
    assert (clone.read("sub/model.toyd"), clone.read("sub/model.toyi")) == (data, index)
    assert clone.status() == ""


@pytest.mark.parametrize("tracked", [True, False], ids=["tracked", "plain"])
def test_the_index_has_what_the_work_tree_lacks(toy, tracked):
    if not tracked:
        toy.git("theta", "untrack", "*.toyi")
    save(toy)
    toy.commit("One")
    data, _ = save(toy, seed=1)
    toy.path.joinpath("sub/model.toyi").unlink()
    done = toy.run("git", "add", "sub/model.toyd")
    assert (done.returncode, done.stderr) == (0, "")
    assert formats(toy)["sub/model.toyd"] == "toy-parts"
    toy.path.joinpath("sub/model.toyd").unlink()
    toy.git("checkout", "--", "sub/model.toyd")
    assert toy.read("sub/model.toyd") == data


def test_metadata_in_the_work_tree_counts_as_the_file_that_it_describes(toy):
    save(toy)
    toy.commit("One")
    toy.path.joinpath("sub/model.toyi").unlink()
    toy.git("checkout", "--", "sub/model.toyi", GIT_THETA_SKIP_SMUDGE="1")
    assert toy.read("sub/model.toyi").startswith(b"git-theta metadata")
    save_again = np.zeros(320, np.float32).tobytes()
    toy.write("sub/model.toyd", save_again)
    for command in (("git", "add", "sub/model.toyd"), ("git", "theta", "add", "sub/model.toyd")):
        done = toy.run(*command)
        assert (done.returncode, done.stderr) == (0, "")
    assert formats(toy)["sub/model.toyd"] == "toy-parts"


def test_commands_in_a_folder_find_the_siblings(toy):
    save(toy)
    toy.git("theta", "add", "model.toyd", cwd=toy.path / "sub")
    assert formats(toy) == {"sub/model.toyd": "toy-parts"}


@pytest.mark.parametrize("way", ["nothing", "link", "folder link"])
def test_without_a_sibling_a_file_is_unknown_with_a_warning(toy, way, tmp_path):
    _, index = save(toy)
    toy.path.joinpath("sub/model.toyi").unlink()
    if way != "nothing":
        tmp_path.joinpath("model.toyi").write_bytes(index)
        toy.path.joinpath("sub/model.toyi").symlink_to(tmp_path / "model.toyi")
    if way == "folder link":
        shutil.move(toy.path / "sub", tmp_path / "outside")
        toy.path.joinpath("sub").symlink_to(tmp_path / "outside")
        toy.write("other/model.toyd", bytes(1280))
        toy.path.joinpath("other/model.toyi").symlink_to("../sub/model.toyi")
    name = "other/model.toyd" if way == "folder link" else "sub/model.toyd"
    done = toy.run("git", "add", name)
    assert done.returncode == 0
    assert "Expected model.toyi beside it" in done.stderr
    assert f"{name} is stored byte for byte, as unknown" in done.stderr
    assert formats(toy)[name] == "unknown"


def test_a_sibling_that_no_store_has_is_an_error_and_nothing_is_degraded(toy):
    save(toy)
    toy.commit("One")
    toy.path.joinpath("sub/model.toyi").unlink()
    shutil.rmtree(toy.store)
    toy.write("sub/model.toyd", bytes(1280))
    assert "sub/model.toyi" in toy.refused("git", "add", "sub/model.toyd")
    assert "sub/model.toyd" in toy.git("status", "--porcelain")


def test_an_update_mends_the_checksums_that_lie_elsewhere(toy, tmp_path):
    save(toy)
    toy.commit("One")
    new = np.arange(20, dtype=np.float32)
    save_file({"group1": new}, tmp_path / "update.safetensors")
    told = ("--update-type", "dense", "--update-path", str(tmp_path / "update.safetensors"))
    toy.git("theta", "add", "sub/model.toyd", *told)
    assert toy.read("sub/model.toyd")[1200:] == new.tobytes()
    lines = toy.read("sub/model.toyi").decode().splitlines()
    assert lines[1] == f"group1 20 {zlib.crc32(new.tobytes()):08x}"
    assert toy.status() == "M  sub/model.toyd\nM  sub/model.toyi\n"

    toy.write("sub/model.toyi", b"group0 300 0\ngroup1 20 0\n")
    before = toy.read("sub/model.toyd")
    save_file({"group1": new + 1}, tmp_path / "update.safetensors")
    assert "not in git" in toy.refused("git", "theta", "add", "sub/model.toyd", *told)
    assert toy.read("sub/model.toyd") == before


def test_a_migration_takes_siblings_from_the_same_commit(toy, tmp_path):
    toy.attributes = b""
    contents = []
    for seed, counts in ((0, (300, 20)), (1, (30, 20)), (2, (5, 6, 7))):
        contents.append(save(toy, seed=seed, counts=counts))
        toy.commit(f"Version {seed}")
    for path in toy.path.joinpath("sub").iterdir():
        path.unlink()
    toy.commit("Gone")
    toy.git(
        "theta", "migrate", "import", "--everything", "--include", "*.toyd", "--include", "*.toyi"
    )
    for revision, (data, index) in zip(("main~3", "main~2", "main~1"), contents, strict=True):
        assert formats(toy, revision)["sub/model.toyd"] == "toy-parts"
        toy.git("checkout", "--quiet", revision)
        assert (toy.read("sub/model.toyd"), toy.read("sub/model.toyi")) == (data, index)


# ---- folders -------------------------------------------------------------------------------------


def test_tracking_a_checkpoint_folder_covers_its_weights_alone(toy):
    toy.attributes = b""
    save(toy, folder="run/last")
    toy.write("run/last/notes.txt", b"fine\n")
    done = toy.theta("track", "run/last/")
    assert done.returncode == 0, done.stderr
    assert "run/last/ is a checkpoint (toy-parts)" in done.stdout
    assert toy.attributes == (
        b"run/last/*.toyi filter=theta -text\nrun/last/*.toyd filter=theta -text\n"
    )
    assert toy.theta("untrack", "run/last").returncode == 0
    assert toy.attributes == b""


def test_untracking_a_folder_finds_the_line_from_before_it_was_a_checkpoint(toy):
    toy.attributes = b"sub/** filter=theta -text\n"
    save(toy)
    assert toy.theta("untrack", "sub").returncode == 0
    assert toy.attributes == b""


def test_tracking_any_other_folder_covers_all_of_it(toy):
    toy.attributes = b""
    save(toy, folder="run/last")
    assert toy.theta("track", "run").returncode == 0
    assert toy.attributes == b"run/** filter=theta -text\n"


def test_show_and_ls_files_take_a_folder_for_one_checkpoint(toy):
    save(toy, "a")
    save(toy, "b", seed=1)
    toy.write("top.toyi", b"")
    toy.commit("One")
    for version in ("sub", "HEAD:sub", "HEAD^{/One}:sub", ":sub"):
        shown = toy.git("theta", "show", version)
        assert "4 parameter groups of 4 files" in shown
        assert "sub/a.toyd" in shown
    told = json.loads(toy.git("theta", "show", "--json", "HEAD:sub"))
    groups = [(group["file"], group["name"]) for group in told["groups"]]
    assert groups == [(f"sub/{n}.toyd", f"group{g}") for n in "ab" for g in range(2)]
    assert told["bytes"] == sum(path.stat().st_size for path in (toy.path / "sub").iterdir())
    lines = toy.git("theta", "ls-files").splitlines()
    assert "sub/ (4 files)" in lines[0]
    assert [line.split()[-1] for line in lines[1:5]] == [
        f"sub/{n}.toy{kind}" for n in "ab" for kind in "di"
    ]
    rows = json.loads(toy.git("theta", "ls-files", "--json", "HEAD"))
    assert {row["checkpoint"] for row in rows} == {"sub/"}
    save(toy, "c", folder=".")
    toy.git("add", ".")
    rows = json.loads(toy.git("theta", "ls-files", "--json"))
    assert {row["checkpoint"] for row in rows if "c.toy" in row["path"]} == {"./"}
    assert "nothing at HEAD:none" in toy.refused("git", "theta", "show", "HEAD:none")
    assert "'NONE'" in toy.refused("git", "theta", "show", "NONE:sub")
