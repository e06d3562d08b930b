"""``git theta prune``: what goes can be fetched, and what is needed here stays."""

from __future__ import annotations

import json
import shutil

import pytest


@pytest.fixture
def shared(tmp_path):
    """A folder that is the store of the remote."""
    folder = tmp_path / "shared"
    folder.mkdir()
    return folder


@pytest.fixture
def history(tracked, model, shared, tmp_path):
    """Four versions on main, months apart and pushed; the folder has all of their packs."""
    tracked.git("init", "--quiet", "--bare", str(tmp_path / "remote.git"))
    tracked.git("remote", "add", "origin", str(tmp_path / "remote.git"))
    tracked.git("config", "remote.origin.thetaStore", str(shared))
    for number in range(4):
        tracked.write("m.pt", model(number))
        tracked.git("add", "m.pt")
        date = f"2024-0{number + 1}-01T00:00:00Z"
        tracked.git(
            *("commit", "--quiet", "--message", f"Step {number}"),
            GIT_AUTHOR_DATE=date,
            GIT_COMMITTER_DATE=date,
        )
    send(tracked, shared)
    tracked.git("push", "--quiet", "origin", "main", GIT_THETA_SKIP_PUSH="1")
    return tracked


def send(desk, folder):
    """Copy all packs of a repository to a folder, as a push does."""
    for name, file in desk.packs().items():
        if not (folder / name).exists():
            shutil.copyfile(file, folder / name)


def needed(desk, revision="HEAD", path="m.pt"):
    """The packs that a version names."""
    lines = desk.git("show", f"{revision}:{path}").splitlines()
    return {line.split(" ")[1] for line in lines if line.startswith("pack ")}


def prune(desk, *options, **env):
    done = desk.theta("prune", "--json", *options, **env)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_what_a_remote_has_goes_and_comes_back_when_it_is_checked_out(history, model):
    before = history.packs().keys()
    told = prune(history, "--dry-run")
    assert history.packs().keys() == before
    done = prune(history)
    assert done["removed"] == told["removed"]
    assert history.packs().keys() == needed(history) == before - done["removed"].keys()
    assert done["removed"]
    assert history.status() == ""
    assert history.read("m.pt") == model(3)
    for number in range(4):
        history.git("checkout", "--quiet", f"HEAD~{3 - number}" if number < 3 else "main")
        assert history.read("m.pt") == model(number)
        assert history.status() == ""
        history.git("checkout", "--quiet", "main")
    assert history.theta("fsck").returncode == 0
    assert prune(history)["removed"] == done["removed"]


def test_the_output_says_what_went_and_what_stays(history, shared):
    only = sorted(history.packs().keys() - needed(history))[0]
    (shared / only).unlink()
    done = history.theta("prune")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].endswith(" removed")
    assert lines[1].endswith(" stay: needed here")
    assert lines[2].startswith("1 pack (")
    assert "no remote has them" in lines[2]
    assert only in history.packs()


def test_what_is_staged_or_in_another_work_tree_or_stashed_stays(history, model, shared):
    history.git("worktree", "add", "--quiet", "--detach", "../other", "HEAD~2")
    history.write("m.pt", model(7))
    history.git("stash", "--quiet")
    history.write("n.pt", model(8))
    history.git("add", "n.pt")
    send(history, shared)
    stays = needed(history) | needed(history, "HEAD~2") | needed(history, "stash@{0}")
    stays |= needed(history, "", "n.pt")
    done = prune(history)
    assert history.packs().keys() == stays == done["needed"].keys()
    others = needed(history, "HEAD~1") | needed(history, "HEAD~3")
    assert done["removed"].keys() == others - stays
    history.git("worktree", "remove", "../other")
    assert prune(history)["removed"].keys() == needed(history, "HEAD~2") - (
        needed(history) | needed(history, "stash@{0}") | needed(history, "", "n.pt")
    )
    history.git("stash", "pop", "--quiet")
    assert history.read("m.pt") == model(7)


def test_recent_commits_stay_for_as_long_as_is_configured(history, model, shared):
    history.write("m.pt", model(9))
    history.commit("Now")
    history.write("m.pt", model(10))
    history.commit("After")
    send(history, shared)
    history.git("push", "--quiet", "origin", "main")
    recent = needed(history, "HEAD~1") - needed(history)
    assert recent
    assert recent <= prune(history)["needed"].keys()
    history.git("config", "theta.pruneRecentDays", "0")
    assert recent <= prune(history)["removed"].keys()
    history.git("config", "theta.pruneRecentDays", "a week")
    refused = history.theta("prune")
    assert refused.returncode == 32
    assert "theta.pruneRecentDays" in refused.stderr


def test_unpushed_commits_keep_their_packs(history, model, shared):
    history.git("config", "theta.pruneRecentDays", "0")
    history.git("checkout", "--quiet", "-b", "topic")
    history.write("m.pt", model(11))
    history.commit("Not pushed")
    history.git("checkout", "--quiet", "main")
    send(history, shared)
    mine = needed(history, "topic") - needed(history)
    assert mine <= prune(history)["needed"].keys()
    history.git("push", "--quiet", "origin", "topic")
    assert mine <= prune(history)["removed"].keys()


def test_a_pack_that_the_remote_lost_meanwhile_stays(history, shared):
    first = prune(history, "--dry-run")["removed"]
    for name in first:
        (shared / name).unlink()
    done = prune(history)
    assert done["removed"] == {}
    assert done["only_here"] == first
    assert history.theta("fsck").returncode == 0


def test_verifying_keeps_what_the_remote_has_damaged(history, shared):
    first = prune(history, "--dry-run")["removed"]
    bad = sorted(first)[0]
    data = bytearray((shared / bad).read_bytes())
    data[len(data) // 2] ^= 1
    (shared / bad).write_bytes(data)
    done = prune(history, "--verify")
    assert done["damaged"].keys() == {bad}
    assert bad in history.packs()
    assert done["removed"].keys() == first.keys() - {bad}


def test_repacked_versions_stay_until_a_remote_has_them(history, model):
    assert history.theta("repack").returncode == 0
    before = history.packs()
    done = prune(history)
    assert done["removed"] == {}
    assert history.packs() == before
    assert history.theta("fsck").returncode == 0


def test_without_a_remote_or_with_an_unreachable_one_nothing_goes(history, shared, tracked):
    shared.rename(shared.with_name("elsewhere"))
    before = history.packs()
    refused = history.theta("prune")
    assert refused.returncode == 32
    assert "origin: There is no folder" in refused.stderr
    assert "Nothing was removed" in refused.stderr
    history.git("remote", "remove", "origin")
    refused = history.theta("prune")
    assert refused.returncode == 32
    assert "there is none" in refused.stderr
    assert history.packs() == before


def test_a_local_store_is_no_remote_store_to_count_on(history):
    before = history.packs()
    for folder in (history.store / "objects", history.clone("other").store / "objects"):
        history.git("config", "remote.origin.thetaStore", str(folder))
        refused = history.theta("prune")
        assert refused.returncode == 32
        assert "may be pruned as well" in refused.stderr
    assert history.packs() == before


def test_nothing_goes_while_another_process_has_the_store_open(history, monkeypatch):
    from git_theta.git.repository import Repository
    from git_theta.remotes.prune import prune as remove
    from git_theta.storage.local import LocalStore

    monkeypatch.chdir(history.path)
    before = history.packs()
    with LocalStore(history.store), Repository() as repository:
        done = remove(repository, ["origin"], days=10, patience=0)
    assert done.busy
    assert done.removed == {}
    assert history.packs() == before


@pytest.mark.parametrize("proven", [True, False])
def test_adding_what_was_pruned_stores_nothing_again(history, model, proven):
    history.git("checkout", "--quiet", "-b", "old", "HEAD~2", GIT_THETA_SKIP_SMUDGE="1")
    history.git("checkout", "--quiet", "main")
    prune(history)
    if not proven:
        (history.store / "proven").unlink()
    before = history.packs().keys()
    history.git("checkout", "--quiet", "old", GIT_THETA_SKIP_SMUDGE="1")
    history.write("m.pt", model(1))
    history.git("add", "m.pt")
    assert history.status() == ""
    assert history.packs().keys() == before
    (history.path / "m.pt").unlink()
    history.git("checkout", "--", "m.pt")
    assert history.read("m.pt") == model(1)


def test_what_no_remote_is_known_to_have_is_stored_again(history, model, shared):
    prune(history)
    history.git("checkout", "--quiet", "--detach", "HEAD~2", GIT_THETA_SKIP_SMUDGE="1")
    for file in shared.iterdir():
        file.unlink()
    assert history.theta("fsck", "--remote").returncode == 30
    history.write("m.pt", model(1))
    history.git("add", "m.pt")
    (history.path / "m.pt").unlink()
    history.git("checkout", "--", "m.pt")
    assert history.read("m.pt") == model(1)
