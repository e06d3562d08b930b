"""A remote that is a repository on this machine gives what lies in its local store."""

from __future__ import annotations

import pytest


@pytest.fixture
def origin(tracked, model):
    for seed in range(2):
        tracked.write("m.pt", model(seed))
        tracked.commit(f"Seed {seed}")
    return tracked


@pytest.mark.parametrize("form", ["{}", "{}/.git", "file://{}"])
def test_a_clone_of_a_folder_is_whole(origin, model, tmp_path, form):
    origin.git("clone", "--quiet", form.format(origin.path), "clone", cwd=tmp_path)
    clone = origin.at(tmp_path / "clone")
    assert (clone.read("m.pt"), clone.status()) == (model(1), "")
    clone.git("checkout", "--quiet", "HEAD~1")
    assert (clone.read("m.pt"), clone.status()) == (model(0), "")


def test_a_work_tree_is_a_remote_too(origin, model, tmp_path):
    origin.git("worktree", "add", "--quiet", str(tmp_path / "tree"), "-b", "side")
    origin.git("clone", "--quiet", str(tmp_path / "tree"), "clone", cwd=tmp_path)
    assert origin.at(tmp_path / "clone").read("m.pt") == model(1)


def test_a_store_that_is_set_is_found(origin, model, tmp_path):
    (origin.store).rename(tmp_path / "shared")
    origin.git("config", "theta.store", str(tmp_path / "shared"))
    origin.git("clone", "--quiet", str(origin.path), "clone", cwd=tmp_path)
    assert origin.at(tmp_path / "clone").read("m.pt") == model(1)


def test_the_store_of_the_remote_is_asked_first(origin, model, tmp_path):
    config = f"remote.origin.thetaStore={tmp_path / 'none'}"
    origin.git("clone", "--quiet", "-c", config, str(origin.path), "clone", cwd=tmp_path)
    assert origin.at(tmp_path / "clone").read("m.pt") == model(1)
    for pack in origin.packs().values():
        pack.chmod(0o644)
        pack.write_bytes(bytes(pack.stat().st_size))
    done = origin.run("git", "clone", "-c", config, str(origin.path), "other", cwd=tmp_path)
    assert done.returncode != 0
    none, near = (
        done.stderr.index(f"origin (file://{f})")
        for f in (tmp_path / "none", origin.store / "objects")
    )
    assert none < near
    assert "is corrupt" in done.stderr[near:]
