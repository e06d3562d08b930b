"""What people do with git all day, with a model in the repository."""

from __future__ import annotations

import random

import numpy as np
import pytest
import safetensors.numpy


@pytest.fixture
def started(tracked, model):
    """A repository whose only commit with a model is tagged ``first``."""
    tracked.write("m.pt", model())
    tracked.commit("First")
    tracked.git("tag", "first")
    return tracked


def test_commit_a_stores_what_changed(started, model):
    started.write("m.pt", model(1))
    started.git("commit", "--quiet", "--all", "--message", "Second")
    assert started.status() == ""
    assert started.clone("clone").read("m.pt") == model(1)


def test_commit_of_one_path_leaves_the_others(started, model):
    started.write("n.pt", model(5))
    started.commit("Other")
    started.write("m.pt", model(1))
    started.write("n.pt", model(2))
    started.git("commit", "--quiet", "--message", "Only n", "n.pt")
    assert started.status() == " M m.pt\n"
    assert started.clone("clone").read("n.pt") == model(2)


def test_intent_to_add_stores_when_the_file_is_added(started, model):
    before = started.packs()
    started.write("n.pt", model(1))
    started.git("add", "--intent-to-add", "n.pt")
    assert started.git("status", "--porcelain") == " A n.pt\n"
    assert "layer.1.weight" in started.git("diff")
    assert started.packs() == before
    started.git("commit", "--quiet", "--all", "--message", "Now")
    assert len(started.packs()) == len(before) + 1
    assert started.clone("clone").read("n.pt") == model(1)


@pytest.mark.parametrize(
    ("pick", "then"),
    [
        ("git add --patch", "git commit -m Picked"),
        ("git commit --patch -m Picked", "git log"),
        ("git stash --patch", "git stash pop"),
    ],
)
def test_hunks_that_are_picked_by_hand_are_stored(started, model, pick, then):
    # another length: git sees the change without the filter, and asks it only through git diff
    started.write("m.pt", model(1, rows=65))
    done = started.run("sh", "-c", f"yes | {pick} && {then}")
    assert done.returncode == 0, done.stderr
    assert started.theta("fsck").returncode == 0
    assert started.read("m.pt") == model(1, rows=65)


@pytest.mark.parametrize("command", ["stash --patch", "checkout --patch", "restore --patch"])
def test_hunks_of_which_some_are_left_out_leave_the_file_as_it_was(tracked, command):
    groups = {f"l{number:02}": np.full((20, 20), number, "<f4") for number in range(30)}
    tracked.write("m.safetensors", safetensors.numpy.save(groups))
    tracked.commit("Model")
    changed = safetensors.numpy.save(groups | {name: groups[name] + 1 for name in ("l05", "l25")})
    tracked.write("m.safetensors", changed)
    said = tracked.run("sh", "-c", f"printf 'n\\ny\\nn\\nn\\nn\\n' | git {command}")
    assert "m.safetensors stays as it was" in said.stderr
    assert tracked.read("m.safetensors") == changed
    tracked.commit("All of it")
    assert tracked.clone("clone").read("m.safetensors") == changed


def test_a_diff_that_was_applied_to_the_index_is_stored_with_the_commit(started, model, tmp_path):
    started.write("m.pt", model(1, rows=65))
    (tmp_path / "patch").write_text(started.git("diff"))
    started.git("apply", "--cached", str(tmp_path / "patch"))
    started.git("commit", "--quiet", "--message", "Applied")
    assert started.status() == ""
    assert started.theta("fsck").returncode == 0
    assert started.clone("clone").read("m.pt") == model(1, rows=65)


def test_an_applied_diff_of_a_file_that_is_half_known_is_stored_as_a_whole(tracked, tmp_path):
    # 3 MB that no format knows, in chunks of which the store has the first ones
    data = random.Random(1).randbytes(3_000_000)
    tracked.write("m.bin", data)
    tracked.commit("Noise")
    changed = data[:2_000_000] + b"other" + data[2_000_000:]
    tracked.write("m.bin", changed)
    (tmp_path / "patch").write_text(tracked.git("diff"))
    tracked.git("apply", "--cached", str(tmp_path / "patch"))
    tracked.git("commit", "--quiet", "--message", "Applied")
    assert tracked.theta("fsck").returncode == 0
    assert tracked.clone("clone").read("m.bin") == changed


def test_a_lost_pack_comes_back_from_the_work_tree(started, model):
    (pack,) = started.packs().values()
    pack.unlink()
    assert started.status() == ""
    assert started.theta("fsck").returncode == 30
    started.git("add", "--renormalize", "m.pt")
    assert started.git("status", "--porcelain") == ""
    assert started.theta("fsck").returncode == 0
    assert started.clone("clone").read("m.pt") == model()


def test_moved_and_copied_models_cost_nothing(started, model):
    before = started.packs()
    started.git("mv", "m.pt", "moved.pt")
    started.write("copy.safetensors", model())
    started.commit("Moved")
    assert started.status() == ""
    assert started.packs() == before
    clone = started.clone("clone")
    assert clone.read("moved.pt") == clone.read("copy.safetensors") == model()
    assert "rename" in started.git("show", "--stat", "--summary", "-M100%", "HEAD")


def test_a_detached_head_and_back(started, model):
    started.write("m.pt", model(1))
    started.commit("Second")
    started.git("checkout", "--quiet", "--detach", "first")
    assert (started.read("m.pt"), started.status()) == (model(), "")
    started.write("m.pt", model(2))
    started.commit("Aside")
    started.git("switch", "--quiet", "main")
    assert (started.read("m.pt"), started.status()) == (model(1), "")


def test_squash_revert_and_amend_keep_every_byte(started, model):
    for seed in (1, 2, 3):
        started.write("m.pt", model(seed))
        started.commit(f"Seed {seed}")
    started.git("revert", "--no-edit", "HEAD")
    assert (started.read("m.pt"), started.status()) == (model(2), "")
    started.write("m.pt", model(4))
    started.git("commit", "--quiet", "--all", "--amend", "--no-edit")
    started.git("reset", "--quiet", "--soft", "first")
    started.git("commit", "--quiet", "--message", "Squashed")
    assert (started.read("m.pt"), started.status()) == (model(4), "")
    clone = started.clone("clone")
    assert clone.read("m.pt") == model(4)
    assert clone.theta("fsck").returncode == 0


def test_a_shallow_clone_checks_out(started, model):
    started.write("m.pt", model(1))
    started.commit("Second")
    clone = started.clone("clone", "--depth=1", "--no-local")
    assert (clone.read("m.pt"), clone.status()) == (model(1), "")


def test_restore_takes_one_file_of_an_old_commit(started, model):
    started.write("m.pt", model(1))
    started.commit("Second")
    started.git("restore", "--source", "first", "m.pt")
    assert (started.read("m.pt"), started.status()) == (model(), " M m.pt\n")
    started.git("restore", "m.pt")
    assert (started.read("m.pt"), started.status()) == (model(1), "")


def test_a_tracked_folder_of_files_already_in_git_is_taken_over(desk, model):
    desk.write("m.pt", model())
    desk.commit("As any other file")
    desk.theta("track", "*.pt")
    assert desk.status() == " M m.pt\n?? .gitattributes\n"
    desk.git("add", "--renormalize", ".")
    desk.commit("With git-theta")
    assert desk.git("show", "HEAD:m.pt").startswith("git-theta metadata 1\n")
    assert desk.status() == ""
    desk.git("checkout", "--quiet", "HEAD~1")
    assert desk.read("m.pt") == model()
    desk.git("checkout", "--quiet", "main")
    assert (desk.read("m.pt"), desk.status()) == (model(), "")


@pytest.mark.parametrize("how", ["variable", "install"])
def test_a_clone_without_weights_is_quiet_and_can_have_them_later(started, model, how):
    variable = {"GIT_THETA_SKIP_SMUDGE": "1"} if how == "variable" else {}
    if how == "install":
        started.git("theta", "install", "--skip-smudge")
    target = started.path.parent / "clone"
    started.git("clone", "--quiet", str(started.path), str(target), **variable)
    clone = started.at(target)
    assert clone.read("m.pt").startswith(b"git-theta metadata 1\n")
    assert clone.status() == ""
    (pack,) = started.packs()
    packs = (started.store / "objects").rename(started.store / "away")
    said = clone.refused("git", "theta", "checkout")
    assert pack in said
    assert "git theta push" in said.splitlines()[-1]
    assert clone.read("m.pt").startswith(b"git-theta metadata 1\n")
    packs.rename(started.store / "objects")  # a clone on the same machine finds them there
    clone.git("theta", "checkout", "m.pt")
    assert (clone.read("m.pt"), clone.status()) == (model(), "")


def test_one_command_a_file_serves_git_without_the_process(started, model):
    started.git("config", "--global", "--unset", "filter.theta.process")
    started.write("m.pt", model(1))
    started.write("line\nbreak $HOME.pt", model(2))
    started.write("empty.pt", b"")
    started.commit("Second")
    assert started.status() == ""
    clone = started.clone("clone")
    assert clone.read("m.pt") == model(1)
    assert clone.read("line\nbreak $HOME.pt") == model(2)
    assert clone.read("empty.pt") == b""
    assert clone.status() == ""


def test_a_model_that_becomes_empty_and_back(started, model):
    started.write("m.pt", b"")
    started.commit("Empty")
    assert started.git("cat-file", "-s", "HEAD:m.pt") == "0\n"
    started.git("checkout", "--quiet", "first")
    assert started.read("m.pt") == model()
    started.git("checkout", "--quiet", "main")
    assert (started.read("m.pt"), started.status()) == (b"", "")


@pytest.mark.parametrize(
    "command",
    ["ls-files", "show m.pt", "du", "fsck", "gc", "prune", "repack", "fetch", "push", "add m.pt"],
)
def test_outside_of_a_repository_that_is_what_is_said(desk, tmp_path, command):
    (tmp_path / "elsewhere").mkdir()
    done = desk.theta(*command.split(), cwd=tmp_path / "elsewhere")
    assert done.returncode == 50
    assert done.stderr == (
        f"error: Expected a git repository at {tmp_path}/elsewhere, found none\n"
        "Run it in a repository, or make one with: git init\n"
    )


def test_a_file_that_git_has_as_it_is_is_told_apart(started):
    started.write("config.json", b'{"layers": 1}')
    started.commit("Settings")
    said = started.refused("git", "theta", "show", "config.json")
    assert "found one that git stores as it is: config.json" in said
