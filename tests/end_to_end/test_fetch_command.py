"""``git theta fetch`` and ``pull``: which weights they get, and what stays as it was."""

from __future__ import annotations

import json
import shutil

import pytest


@pytest.fixture
def origin(tracked, model, tmp_path):
    """A bare remote and its packs: three versions of two models, on two branches and a tag."""
    (tmp_path / "packs").mkdir()
    tracked.git("init", "--quiet", "--bare", "--initial-branch=main", str(tmp_path / "origin.git"))
    tracked.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    tracked.git("theta", "remote", "add", "origin", str(tmp_path / "packs"))
    commit(tracked, model, 1, GIT_COMMITTER_DATE="2020-01-01T00:00:00Z")
    tracked.git("tag", "old")
    commit(tracked, model, 2)
    tracked.git("checkout", "--quiet", "-b", "tuned")
    commit(tracked, model, 3)
    tracked.git("checkout", "--quiet", "main")
    push(tracked)
    return tracked


def commit(desk, model, seed, **env):
    desk.write("m.pt", model(seed))
    desk.write("sub/n.pt", model(seed, rows=32))
    desk.git("add", ".")
    desk.git("commit", "--quiet", "--message", f"Seed {seed}", **env)


def push(desk, *args):
    assert desk.theta("push", "--all").returncode == 0
    desk.git("push", "--quiet", "--no-verify", "--all", *args)
    desk.git("push", "--quiet", "--no-verify", "--tags")


@pytest.fixture
def bare_of_weights(origin, tmp_path):
    """A clone with metadata in the place of all models."""
    store = f"remote.origin.thetaStore={tmp_path / 'packs'}"
    clone = ["clone", "--quiet", "-c", store, str(tmp_path / "origin.git"), "clone"]
    origin.git(*clone, cwd=tmp_path, GIT_THETA_SKIP_SMUDGE="1")
    return origin.at(tmp_path / "clone")


def fetched(desk, *args, cwd=None):
    """The packs that a fetch brought, which are those that it tells of."""
    before = desk.packs().keys()
    done = desk.theta("fetch", "--json", *args, cwd=cwd)
    assert done.returncode == 0, done.stderr
    new = desk.packs().keys() - before
    assert new == set(json.loads(done.stdout)["packs"])
    return new


def needed(desk, *versions):
    """The packs that versions name."""
    return {pack for pack in desk.packs() for one in versions if pack in desk.git("show", one)}


def test_the_files_of_the_index_are_fetched_without_being_written(origin, bare_of_weights):
    found = fetched(bare_of_weights)
    assert found == needed(origin, "main:m.pt", "main:sub/n.pt")
    assert bare_of_weights.read("m.pt").startswith(b"git-theta metadata 1\n")
    assert "Nothing to fetch" in bare_of_weights.git("theta", "fetch")
    bare_of_weights.git("remote", "set-url", "origin", "/nowhere")
    bare_of_weights.git("theta", "checkout")
    assert bare_of_weights.status() == ""


def test_a_revision_of_a_remote_is_fetched(origin, bare_of_weights):
    assert fetched(bare_of_weights, "origin", "old") == needed(origin, "old:m.pt", "old:sub/n.pt")
    both = needed(origin, "origin/tuned:m.pt", "origin/tuned:sub/n.pt")
    assert fetched(bare_of_weights, "origin", "origin/tuned", "old") <= both


def test_recent_branches_are_fetched_and_old_tags_are_not(origin, bare_of_weights):
    recent = needed(origin, *(f"{b}:{p}" for b in ("main", "tuned") for p in ("m.pt", "sub/n.pt")))
    assert fetched(bare_of_weights, "--recent") == recent
    bare_of_weights.git("config", "theta.recentDays", "100000")
    assert fetched(bare_of_weights, "--recent") == origin.packs().keys() - recent


def test_all_of_history_is_fetched(origin, bare_of_weights):
    assert fetched(bare_of_weights, "--all") == origin.packs().keys()


@pytest.mark.parametrize(
    ("options", "paths"),
    [
        (["--include", "sub"], ["sub/n.pt"]),
        (["--include", "*.pt", "--exclude", "sub"], ["m.pt"]),
        (["--exclude", "m.pt"], ["sub/n.pt"]),
        (["--include", "nowhere"], []),
    ],
)
@pytest.mark.parametrize("mode", [[], ["--all"], ["origin", "HEAD"]])
def test_paths_are_included_and_excluded(origin, bare_of_weights, mode, options, paths):
    revisions = ("main", "tuned", "old") if mode == ["--all"] else ("main",)
    wanted = needed(origin, *(f"{rev}:{path}" for rev in revisions for path in paths))
    assert fetched(bare_of_weights, *mode, *options) == wanted


def test_paths_start_at_the_current_folder(origin, bare_of_weights):
    folder = bare_of_weights.path / "sub"
    assert fetched(bare_of_weights, "--include", "n.pt", cwd=folder) == needed(
        origin, "main:sub/n.pt"
    )
    assert fetched(bare_of_weights, "--exclude", "n.pt", cwd=folder) <= needed(origin, "main:m.pt")
    assert fetched(bare_of_weights, cwd=folder) == set()


def test_a_dry_run_fetches_nothing(origin, bare_of_weights):
    told = json.loads(bare_of_weights.git("theta", "fetch", "--dry-run", "--json"))
    assert set(told["packs"]) == needed(origin, "main:m.pt", "main:sub/n.pt")
    assert told["bytes"] == sum(origin.packs()[name].stat().st_size for name in told["packs"])
    assert "Would fetch" in bare_of_weights.git("theta", "fetch", "--dry-run")
    assert bare_of_weights.packs() == {}


def test_a_bare_clone_fetches_what_its_head_has(origin, tmp_path):
    store = f"remote.origin.thetaStore={tmp_path / 'packs'}"
    url = str(tmp_path / "origin.git")
    origin.git("clone", "--quiet", "--mirror", "-c", store, url, "mirror.git", cwd=tmp_path)
    mirror = origin.at(tmp_path / "mirror.git")
    assert fetched(mirror) == needed(origin, "main:m.pt", "main:sub/n.pt")
    assert fetched(mirror, "--all") | mirror.packs().keys() == origin.packs().keys()


def test_what_cannot_be_asked_for_is_refused(bare_of_weights):
    assert "There are: origin" in bare_of_weights.refused("git", "theta", "fetch", "v1.0")
    said = bare_of_weights.refused("git", "theta", "fetch", "origin", "nowhere")
    assert "found 'nowhere'" in said
    assert "no REV" in bare_of_weights.refused("git", "theta", "fetch", "--all", "origin", "main")
    bare_of_weights.git("remote", "remove", "origin")
    assert "git remote add" in bare_of_weights.refused("git", "theta", "fetch")


def test_packs_that_were_replaced_before_they_were_pushed_are_found(tracked, model, tmp_path):
    (tmp_path / "packs").mkdir()
    tracked.git("init", "--quiet", "--bare", "--initial-branch=main", str(tmp_path / "origin.git"))
    tracked.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    tracked.git("theta", "remote", "add", "origin", str(tmp_path / "packs"))
    commit(tracked, model, 1)
    commit(tracked, model, 2)
    tracked.git("theta", "repack")
    push(tracked)
    store = f"remote.origin.thetaStore={tmp_path / 'packs'}"
    clone = ["clone", "--quiet", "-c", store, str(tmp_path / "origin.git"), "clone"]
    tracked.git(*clone, cwd=tmp_path)
    made = tracked.at(tmp_path / "clone")
    assert (made.read("m.pt"), made.read("sub/n.pt")) == (model(2), model(2, rows=32))
    assert made.packs().keys() == tracked.packs().keys()
    assert made.status() == ""


def test_pull_fetches_weights_before_it_changes_anything(origin, bare_of_weights, model, tmp_path):
    bare_of_weights.git("theta", "checkout")
    commit(origin, model, 4)
    push(origin)
    shutil.move(tmp_path / "packs", tmp_path / "gone")
    head = bare_of_weights.git("rev-parse", "HEAD")
    said = bare_of_weights.refused("git", "theta", "pull", "--ff-only")
    assert "There is no folder" in said
    assert bare_of_weights.git("rev-parse", "HEAD") == head
    assert bare_of_weights.status() == ""
    shutil.move(tmp_path / "gone", tmp_path / "packs")
    assert "Fetched 2 packs" in bare_of_weights.git("theta", "pull", "--ff-only")
    assert bare_of_weights.read("m.pt") == model(4)
    assert bare_of_weights.status() == ""


def test_pull_takes_a_remote_and_a_branch_and_tells_gits_exit_code(origin, bare_of_weights, model):
    bare_of_weights.git("theta", "pull", "--quiet", "origin", "tuned")
    assert bare_of_weights.read("m.pt") == model(3)
    assert bare_of_weights.run("git", "theta", "pull", "origin", "nowhere").returncode == 128


def test_a_clone_without_trees_fetches_all_of_history(origin, tmp_path):
    url = f"file://{tmp_path / 'origin.git'}"
    origin.git("config", "uploadpack.allowFilter", "true", cwd=tmp_path / "origin.git")
    store = f"remote.origin.thetaStore={tmp_path / 'packs'}"
    clone = ["clone", "--quiet", "--filter=tree:0", "-c", store, url, "part"]
    origin.git(*clone, cwd=tmp_path)
    made = origin.at(tmp_path / "part")
    assert made.theta("fetch", "--all").returncode == 0
    assert made.packs().keys() == origin.packs().keys()
    assert made.theta("fsck").returncode == 0


@pytest.mark.parametrize("arguments", [["--all"], ["origin", "origin/tuned", "old"], ["--recent"]])
def test_a_partial_clone_gets_metadata_of_history_at_once(origin, tmp_path, arguments):
    url = f"file://{tmp_path / 'origin.git'}"
    origin.git("config", "uploadpack.allowFilter", "true", cwd=tmp_path / "origin.git")
    store = f"remote.origin.thetaStore={tmp_path / 'packs'}"
    clone = ["clone", "--quiet", "--no-checkout", "--filter=blob:none", "-c", store, url, "part"]
    origin.git(*clone, cwd=tmp_path)
    made = origin.at(tmp_path / "part")
    made.git("reset", "--quiet", "--mixed")
    trace = tmp_path / "trace"
    done = made.run("git", "theta", "fetch", *arguments, GIT_TRACE=str(trace))
    assert done.returncode == 0, done.stderr
    sides = {"--all": ["main", "tuned", "old"], "--recent": ["main", "tuned"]}
    names = sides.get(arguments[0], ["tuned", "old"])
    wanted = needed(origin, *(f"{name}:{path}" for name in names for path in ("m.pt", "sub/n.pt")))
    assert wanted <= made.packs().keys()
    asked = [line for line in trace.read_text().splitlines() if "built-in: git fetch " in line]
    assert len(asked) <= 4, "blobs of the index one by one, those of history together"
