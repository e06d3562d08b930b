"""``theta.store``: several clones on a machine have one local store."""

from __future__ import annotations

import json
import subprocess

import pytest


@pytest.fixture
def shared(tracked, model, tmp_path):
    """A store that is shared by a repository with two versions, and a clone of it."""
    folder = tmp_path / "store"
    for number in range(2):
        tracked.write("m.pt", model(number))
        tracked.commit(f"Step {number}")
    tracked.git("config", "--global", "theta.store", str(folder))
    tracked.git("clone", "--quiet", "--no-checkout", str(tracked.path), "clone", cwd=tmp_path)
    assert tracked.theta("fsck").returncode == 0
    return folder


def names(folder):
    return {file.name for file in (folder / "objects").glob("?" * 64)}


def test_what_a_repository_had_moves_there_and_a_clone_reads_it(tracked, model, shared, tmp_path):
    assert names(tracked.store) == set()
    assert names(shared)
    made = tracked.at(tmp_path / "clone")
    made.git("checkout", "--quiet", "main")
    assert made.read("m.pt") == model(1)
    assert made.status() == ""
    assert made.packs() == {}
    before = names(shared)
    made.write("m.pt", model(0))
    made.commit("Back")
    assert names(shared) == before, "nothing that the other one has is stored again"


def test_two_clones_add_at_once(tracked, model, shared, tmp_path):
    desks = [tracked, tracked.at(tmp_path / "clone")]
    desks[1].git("checkout", "--quiet", "main")
    for number, desk in enumerate(desks):
        desk.write("m.pt", model(10 + number))
        desk.write("n.pt", model(12))
    running = [
        subprocess.Popen(["git", "add", "m.pt", "n.pt"], cwd=desk.path, env=desk.env)
        for desk in desks
    ]
    assert [process.wait() for process in running] == [0, 0]
    for number, desk in enumerate(desks):
        (desk.path / "m.pt").unlink()
        desk.git("checkout", "--", "m.pt")
        assert desk.read("m.pt") == model(10 + number)
        assert desk.theta("fsck").returncode == 0


def test_prune_and_gc_leave_what_the_other_may_need(tracked, model, shared, tmp_path):
    made = tracked.at(tmp_path / "clone")
    made.git("checkout", "--quiet", "main")
    made.write("m.pt", model(5))
    made.commit("Only in the clone")
    remote = tmp_path / "remote-store"
    remote.mkdir()
    tracked.git("remote", "add", "origin", str(made.path))
    tracked.git("config", "remote.origin.thetaStore", str(remote))
    refused = tracked.theta("prune")
    assert refused.returncode == 32
    assert str(made.path) in refused.stderr
    assert tracked.theta("gc", "--prune", "now").returncode == 0
    assert made.theta("fsck").returncode == 0
    (made.path / "m.pt").unlink()
    made.git("checkout", "--", "m.pt")
    assert made.read("m.pt") == model(5)


def test_another_repositorys_own_store_is_shared_with_it(tracked, model, shared, tmp_path):
    made = tracked.at(tmp_path / "clone")
    made.git("checkout", "--quiet", "main")
    tracked.git("config", "--global", "--unset", "theta.store")
    made.git("config", "theta.store", str(tracked.store))
    (tracked.store / "objects").mkdir(parents=True, exist_ok=True)
    made.write("m.pt", model(7))
    made.git("add", "m.pt")
    assert names(tracked.store)
    for desk, other in ((tracked, made), (made, tracked)):
        refused = desk.theta("prune")
        assert refused.returncode == 32
        assert str(other.path) in refused.stderr


@pytest.mark.parametrize("how", ["command line", "include", "global"])
def test_it_may_be_set_wherever_git_reads_it(tracked, model, tmp_path, how):
    folder, options = tmp_path / "elsewhere", []
    if how == "command line":
        options = ["-c", f"theta.store={folder}"]
    elif how == "include":
        (tmp_path / "more").write_text(f"[Theta]\n\tStore = {folder}\n")
        tracked.git("config", "include.path", str(tmp_path / "more"))
    else:
        tracked.git("config", "--global", "theta.store", str(folder))
    tracked.write("m.pt", model())
    tracked.git(*options, "add", "m.pt")
    assert names(folder)
    assert tracked.packs() == {}


def test_a_path_that_is_not_absolute_is_refused(tracked, model):
    tracked.git("config", "theta.store", "somewhere")
    tracked.write("m.pt", model())
    assert "absolute path in theta.store" in tracked.refused("git", "add", "m.pt")
    done = tracked.theta("gc", "--json")
    assert done.returncode == 32
    tracked.git("config", "theta.store", "~/models")
    tracked.git("add", "m.pt")
    assert names(tracked.home / "models")
    assert json.loads(tracked.theta("fsck", "--json").stdout)["problems"] == []
