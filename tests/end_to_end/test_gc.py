"""``git theta gc``: garbage goes once it is old, and nothing that anything refers to."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest

OLD = time.time() - 30 * 24 * 3600


@pytest.fixture
def littered(tracked, model):
    """Two commits, something staged, and two files that were added and dropped again."""
    for number in range(2):
        tracked.write("m.pt", model(number))
        tracked.commit(f"Step {number}")
    for number in (3, 4):
        tracked.write("m.pt", model(number))
        tracked.git("add", "m.pt")
    tracked.git("reset", "--quiet", "--hard")
    tracked.write("n.pt", model(5))
    tracked.git("add", "n.pt")
    return tracked


def age(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (OLD, OLD))


def gc(desk, *options):
    done = desk.theta("gc", "--json", *options)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def buffers(desk):
    from git_theta.storage.local import LocalStore
    from git_theta.storage.replace import stored_buffers

    with LocalStore(desk.store) as store:
        return set(stored_buffers(store))


def assert_whole(desk, model):
    assert desk.theta("fsck").returncode == 0
    assert desk.status() == "A  n.pt\n"
    for number, revision in enumerate(("HEAD~1", "HEAD")):
        assert desk.theta("checkout", "--source", revision, "--force", "m.pt").returncode == 0
        assert desk.read("m.pt") == model(number)


def test_what_nothing_refers_to_goes_once_it_is_old(littered, model):
    stored = buffers(littered)
    gc(littered)
    assert buffers(littered) == stored, "too young"
    age(littered.store / "objects")
    told = gc(littered, "--dry-run")
    assert buffers(littered) == stored
    done = gc(littered)
    assert {**done, "dry_run": True} == told
    assert done["changed"]
    gone = stored - buffers(littered)
    assert len(gone) == 2
    assert buffers(littered) < stored
    assert_whole(littered, model)
    assert not gc(littered)["changed"]


def test_what_only_a_reflog_or_a_stash_has_stays(littered, model):
    littered.git("commit", "--quiet", "--message", "To be dropped")
    littered.git("reset", "--quiet", "--hard", "HEAD~1")
    littered.write("m.pt", model(7))
    littered.git("stash", "--quiet")
    age(littered.store / "objects")
    gc(littered)
    littered.git("stash", "pop", "--quiet")
    assert littered.read("m.pt") == model(7)
    littered.git("checkout", "--quiet", "HEAD@{2}", "--", "n.pt")
    assert littered.read("n.pt") == model(5)


def _other_work_tree(desk, model):
    desk.git("worktree", "add", "--quiet", "../other")
    other = desk.path.parent / "other"
    (other / "m.pt").write_bytes(model(6))
    desk.git("add", "m.pt", cwd=other)


def _side_of_a_conflict(desk, model):
    desk.git("checkout", "--quiet", "-b", "theirs")
    desk.write("m.pt", model(6))
    desk.git("commit", "--quiet", "--all", "--message", "Theirs")
    desk.git("checkout", "--quiet", "main")
    desk.write("m.pt", model(7))
    desk.git("commit", "--quiet", "--all", "--message", "Ours")
    assert desk.run("git", "merge", "theirs").returncode == 1
    desk.git("branch", "--quiet", "--delete", "--force", "theirs")


def _tag_on_a_blob(desk, model):
    desk.git("tag", "kept", ":n.pt")
    desk.git("rm", "--quiet", "--cached", "n.pt")


def _staged_and_not_tracked(desk, model):
    assert desk.theta("untrack", "*.pt").returncode == 0


def _hidden_by_a_replacement(desk, model):
    desk.git("commit", "--quiet", "--message", "Hidden")
    desk.git("rm", "--quiet", "n.pt")
    desk.git("commit", "--quiet", "--message", "On top of it")
    desk.git("replace", "HEAD~1", "HEAD~2")


@pytest.mark.parametrize(
    "refer",
    [
        _other_work_tree,
        _side_of_a_conflict,
        _tag_on_a_blob,
        _staged_and_not_tracked,
        _hidden_by_a_replacement,
    ],
)
def test_what_git_keeps_stays(littered, model, refer):
    refer(littered, model)
    littered.git("reflog", "expire", "--expire=now", "--all")
    littered.git("gc", "--quiet", "--prune=now")
    listed = littered.git("cat-file", "--batch-all-objects", "--batch-check").splitlines()
    blobs = [line.split()[0] for line in listed if " blob " in line]
    texts = [littered.git("cat-file", "blob", blob) for blob in blobs]
    kept = [text for text in texts if text.startswith("git-theta metadata")]
    gc(littered, "--prune", "now")
    stored = {buffer.digest.hex() for buffer in buffers(littered)}
    groups = {line.split()[-1] for text in kept for line in text.splitlines() if "group " in line}
    assert len(kept) >= 3
    assert groups <= stored


@pytest.mark.parametrize("command", ["gc", "du --all"])
def test_a_partial_clone_fetches_what_it_lacks_at_once(tracked, model, tmp_path, command):
    for number in range(6):
        tracked.write("m.pt", model(number))
        tracked.write("other", b"x" * 1000 + b"%d" % number)
        tracked.commit(f"Step {number}")
    tracked.git("config", "uploadpack.allowFilter", "true")
    clone = tracked.clone("clone", "--filter=blob:none", url=f"file://{tracked.path}")
    done = clone.theta(*command.split(), GIT_TRACE=str(tmp_path / "trace"))
    assert done.returncode == 0, done.stderr
    fetches = re.findall(r"run_command: git .*\bfetch\b", (tmp_path / "trace").read_text())
    assert len(fetches) <= 1
    assert clone.theta("fsck").returncode == 0


@pytest.mark.parametrize(
    ("old", "new"), [("git-theta metadata 1", "git-theta metadata 2"), (" F32 ", " F4_NEW ")]
)
def test_what_a_newer_version_refers_to_stays(littered, old, new):
    text = littered.git("show", ":n.pt").replace(old, new)
    littered.write("text", text.encode())
    oid = littered.git("hash-object", "-w", "--no-filters", "text").strip()
    littered.git("update-index", "--cacheinfo", f"100644,{oid},n.pt")
    littered.git("commit", "--quiet", "--message", "By a newer git-theta")
    littered.git("reflog", "expire", "--expire=now", "--all")
    stored = buffers(littered)
    done = littered.theta("gc", "--prune", "now")
    assert done.returncode == 0
    assert f"what no version refers to stays, since blob {oid} cannot be read" in done.stderr
    assert "pip install --upgrade git-theta" in done.stderr
    assert buffers(littered) == stored


def test_a_date_may_be_told_and_configured(littered):
    stored = buffers(littered)
    age(littered.store / "objects")
    gc(littered, "--prune", "never")
    assert buffers(littered) == stored
    littered.git("config", "gc.pruneExpire", "5.years.ago")
    age(littered.store / "objects")
    gc(littered)
    assert buffers(littered) == stored
    gc(littered, "--prune", "now")
    assert len(stored - buffers(littered)) == 2


def test_what_is_added_again_is_young_again(littered, model):
    age(littered.store / "objects")
    littered.write("m.pt", model(3))
    littered.git("add", "m.pt")
    littered.git("reset", "--quiet", "--hard")
    stored = buffers(littered)
    gc(littered)
    littered.write("m.pt", model(3))
    littered.git("add", "m.pt")
    assert littered.theta("fsck").returncode == 0
    assert buffers(littered) <= stored


def test_leftovers_of_killed_commands_go_once_they_are_old(littered):
    folder = littered.store / "objects" / "tmp" / "fetch-abc"
    folder.mkdir(parents=True)
    (folder / ("a" * 64)).write_bytes(b"half a pack")
    (littered.store / "tmp").mkdir(exist_ok=True)
    (littered.store / "tmp" / "spool").write_bytes(b"half a file")
    assert gc(littered)["leftovers"] == 0
    age(folder)
    age(littered.store / "tmp")
    done = gc(littered)
    assert (done["leftovers"], done["leftover_bytes"]) == (2, 22)
    assert not folder.exists()
    assert not list((littered.store / "tmp").iterdir())
    assert "nothing to gain" in littered.theta("gc").stdout


def test_differences_to_what_is_not_here_are_left_alone(littered, model, tmp_path):
    packs = littered.packs()
    named = littered.git("show", "HEAD~1:m.pt")
    lost = next(name for name in packs if name in named)
    packs[lost].rename(tmp_path / lost)
    before = buffers(littered)
    gc(littered)
    assert buffers(littered) == before
    (tmp_path / lost).rename(littered.store / "objects" / lost)
    assert_whole(littered, model)
