"""``git theta fsck`` with remotes: what lies there is no damage, what is damaged here is mended."""

from __future__ import annotations

import json
import shutil

import pytest


@pytest.fixture
def shared(tracked, model, tmp_path):
    """The folder with the packs of a repository whose three versions are pushed."""
    folder = tmp_path / "shared"
    folder.mkdir()
    tracked.git("init", "--quiet", "--bare", str(tmp_path / "remote.git"))
    tracked.git("remote", "add", "origin", str(tmp_path / "remote.git"))
    tracked.git("config", "remote.origin.thetaStore", str(folder))
    tracked.git("config", "theta.pruneRecentDays", "0")
    for number in range(3):
        tracked.write("m.pt", model(number))
        tracked.commit(f"Step {number}")
    for name, file in tracked.packs().items():
        shutil.copyfile(file, folder / name)
    tracked.git("push", "--quiet", "origin", "main")
    return folder


def fsck(desk, *options, code=0):
    done = desk.theta("fsck", "--json", *options)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def test_what_was_pruned_is_no_problem_and_is_counted(tracked, shared):
    assert fsck(tracked)["elsewhere"] == 0
    assert tracked.theta("prune").returncode == 0
    found = fsck(tracked)
    assert (found["versions"], found["elsewhere"], found["problems"]) == (3, 1, [])
    assert "1 of them only with a remote" in tracked.theta("fsck").stdout
    assert fsck(tracked, "--remote")["elsewhere"] == 1


def test_what_a_remote_lost_is_named_once_it_is_asked(tracked, shared):
    pruned = json.loads(tracked.theta("prune", "--json").stdout)["removed"]
    lost = sorted(pruned)[0]
    (shared / lost).unlink()
    assert fsck(tracked)["problems"] == []
    found = fsck(tracked, "--remote", code=30)
    assert any(lost in problem["what"] for problem in found["problems"])
    assert any(problem["where"] == "remote origin" for problem in found["problems"])
    assert fsck(tracked, code=30)["problems"], "what was asked is remembered"


def test_what_is_here_and_not_with_the_remote_is_sent_again(tracked, shared):
    lost = sorted(tracked.packs())[0]
    (shared / lost).unlink()
    (problem,) = fsck(tracked, "--remote", code=30)["problems"][:1]
    assert lost in problem["what"]
    assert "git theta push --all origin" in problem["what"]
    assert tracked.theta("push", "--all", "origin").returncode == 0
    assert fsck(tracked, "--remote")["problems"] == []


def test_a_damaged_pack_is_fetched_anew(tracked, shared):
    for name, path in tracked.packs().items():
        damage(path)
        assert name in json.dumps(fsck(tracked, code=30)["problems"])
        found = fsck(tracked, "--remote")
        assert (found["mended"], found["problems"]) == ([name], [])
        assert path.read_bytes() == (shared / name).read_bytes()
    assert fsck(tracked)["problems"] == []


def test_a_damaged_pack_that_no_remote_has_stays_and_is_told(tracked, shared):
    name, path = sorted(tracked.packs().items())[0]
    damage(path)
    before = path.read_bytes()
    (shared / name).unlink()
    found = fsck(tracked, "--remote", code=30)
    assert found["mended"] == []
    assert name in json.dumps(found["problems"])
    assert path.read_bytes() == before


def test_a_remote_that_cannot_be_asked_is_a_problem(tracked, shared):
    shared.rename(shared.with_name("elsewhere"))
    (problem,) = fsck(tracked, "--remote", code=30)["problems"]
    assert problem["where"] == "remote origin"
    assert "There is no folder" in problem["what"]


def test_a_clone_that_fetched_a_part_of_a_store_is_whole(tracked, shared, tmp_path):
    source = str(tmp_path / "remote.git")
    config = ["-c", f"remote.origin.thetaStore={shared}"]
    tracked.git("clone", "--quiet", *config, source, "clone", cwd=tmp_path)
    made = tracked.at(tmp_path / "clone")
    assert "git theta fetch --all gets them" in made.theta("fsck").stdout
    found = fsck(made, "--remote")
    assert found["problems"] == []
    assert found["elsewhere"] > 0
    assert made.packs().keys() < tracked.packs().keys()


def test_a_fresh_clone_is_whole_though_it_never_fetched_old_versions(tracked, shared, tmp_path):
    url = f"file://{tmp_path / 'remote.git'}"
    tracked.git("clone", "--quiet", "--no-checkout", url, "fresh", cwd=tmp_path)
    clone = tracked.at(tmp_path / "fresh")
    clone.git("config", "remote.origin.thetaStore", str(shared))
    clone.git("checkout", "--quiet", "main")
    found = fsck(clone)
    assert found["problems"] == []
    assert found["elsewhere"] > 0
    assert "git theta fsck --remote asks whether it has them" in clone.theta("fsck").stdout
    assert fsck(clone, "--remote")["problems"] == []


def test_packs_that_others_replaced_are_not_missed(tracked, shared, model, tmp_path):
    for number in range(3, 6):
        tracked.write("m.pt", model(number))
        tracked.commit(f"Step {number}")
    tracked.git("theta", "repack")
    pushed = tracked.run("git", "push", "origin", "main")
    assert pushed.returncode == 0
    assert "that no pushed commit uses" not in pushed.stderr
    assert fsck(tracked, "--remote")["problems"] == []
    url = f"file://{tmp_path / 'remote.git'}"
    tracked.git("clone", "--quiet", "--no-checkout", url, "fresh", cwd=tmp_path)
    clone = tracked.at(tmp_path / "fresh")
    clone.git("config", "remote.origin.thetaStore", str(shared))
    clone.git("checkout", "--quiet", "main")
    assert fsck(clone, "--remote")["problems"] == []
    for commit in clone.git("rev-list", "HEAD").split():
        clone.git("checkout", "--quiet", commit)
