"""A store that cannot be written to, and processes that die or meet: nothing is ever lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess

import pytest

from git_theta.plugins import installed
from git_theta.storage.local import LocalStore
from git_theta.storage.verify import verify_packs

MOMENTS = 30
"""At how many moments of a ``git add`` the filter is killed."""

KILL = """\
import os
import signal
import sys
import threading

# The calls after which something lies on the disk that did not before, and those right before.
NAMES = {
    "chmod", "close", "execute", "executemany", "executescript", "flush", "mkdir", "mkstemp",
    "open", "rename", "replace", "unlink", "write", "writev", "fsync",
}
left = int(os.environ.get("TEST_KILL_AT", "0"))
log = os.environ.get("TEST_CALLS", "")


def watch(frame, event, function):
    global left
    if event not in ("c_call", "c_return") or function.__name__ not in NAMES:
        return
    if log:
        fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, b".")
        os.close(fd)
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)


if left or log:
    threading.setprofile(watch)
    sys.setprofile(watch)
"""


def problems(store):
    with LocalStore(store) as opened:
        assert not opened.damaged
        return list(verify_packs(opened, installed()))


def test_a_filter_that_is_killed_at_any_moment_leaves_a_valid_store(tracked, model, tmp_path):
    folder, calls = tmp_path / "kill", tmp_path / "calls"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(KILL)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    tracked.write("m.pt", model())
    tracked.git("add", "m.pt", PYTHONPATH=path, TEST_CALLS=str(calls))
    total = calls.stat().st_size
    assert total > MOMENTS
    killed = 0
    for moment in range(MOMENTS):
        tracked.write("m.pt", model(moment + 1, rows=64 + moment))
        at = 1 + moment * total // MOMENTS
        done = tracked.run("git", "add", "m.pt", PYTHONPATH=path, TEST_KILL_AT=str(at))
        killed += done.returncode != 0
        assert problems(tracked.store) == [], at
        if moment % 6 == 0:
            tracked.git("add", "m.pt")
            assert tracked.git("diff", "--name-only") == ""
    assert killed > MOMENTS // 2
    tracked.commit("Survived")
    assert tracked.theta("fsck").returncode == 0
    assert tracked.clone("clone").read("m.pt") == model(MOMENTS, rows=64 + MOMENTS - 1)


def test_two_worktrees_add_at_once(tracked, model, tmp_path):
    tracked.write("m.pt", model())
    tracked.commit("Model")
    trees = [tracked]
    for name in ("second", "third"):
        tracked.git("worktree", "add", "--quiet", "-b", name, str(tmp_path / name))
        trees.append(tracked.at(tmp_path / name))
    for turn in range(3):
        # most groups are new and the same for all, so that all want to store the same buffers
        contents = [model(1 + number, rows=2000 + turn) for number in range(len(trees))]
        for tree, data in zip(trees, contents, strict=True):
            tree.write("m.pt", data)
        running = [
            subprocess.Popen(["git", "add", "m.pt"], cwd=tree.path, env=tree.env, stderr=-1)
            for tree in trees
        ]
        for process in running:
            _, said = process.communicate()
            assert (process.returncode, said) == (0, b"")
        for tree, data in zip(trees, contents, strict=True):
            tree.git("commit", "--quiet", "--message", f"Turn {turn}")
            (tree.path / "m.pt").unlink()
            tree.git("checkout", "--", "m.pt")
            assert tree.read("m.pt") == data
    assert tracked.theta("fsck").returncode == 0


@pytest.mark.parametrize("kib", [1024, 1700, 3000])
@pytest.mark.parametrize("command", ["git add m.pt", "git theta add m.pt"])
def test_a_full_disk_is_a_clear_error_and_loses_nothing(tracked, model, command, kib):
    tracked.write("m.pt", model())
    tracked.commit("Model")
    before = tracked.packs()
    tracked.write("m.pt", model(1, rows=60_000))
    # no file may grow beyond that, as on a disk that is full by then; what is written is buffered
    said = tracked.refused("bash", "-c", f"ulimit -f {kib}; {command}")
    assert "Cannot write to the store" in said
    assert "Free some space" in said
    assert "Traceback" not in said
    assert tracked.packs() == before
    assert [path for path in tracked.store.rglob("*") if path.parent.name == "tmp"] == []
    assert tracked.read("m.pt") == model(1, rows=60_000)
    assert tracked.theta("fsck").returncode == 0
    tracked.commit("With more space")
    assert tracked.status() == ""


def test_a_stream_that_cannot_be_kept_aside_is_a_clear_error(tracked, model, tmp_path):
    given = tmp_path / "given"
    given.write_bytes(model(1, rows=50_000))
    command = f"ulimit -f 1024; git hash-object -w --path m.pt --stdin < '{tmp_path}/given'"
    said = tracked.refused("bash", "-c", command)
    assert "Cannot keep m.pt aside" in said
    assert "Free some space" in said
    assert "Traceback" not in said
    assert tracked.packs() == {}


def test_a_checkout_onto_a_full_disk_leaves_the_old_file(tracked, model):
    tracked.write("m.pt", model(1, rows=20_000))
    tracked.commit("Large")
    tracked.write("m.pt", b"a small one")
    tracked.commit("Small")
    command = "ulimit -f 1024; git theta checkout --source HEAD~1 m.pt"
    said = tracked.refused("bash", "-c", command)
    assert "Cannot write m.pt" in said
    assert "Free some space" in said
    assert tracked.read("m.pt") == b"a small one"
    assert tracked.status() == ""


def test_a_full_disk_fails_pushes_and_fetches_which_go_on_later(tracked, model, tmp_path):
    tracked.write("m.pt", model(rows=2000))
    tracked.commit("Model")
    tracked.git("remote", "add", "origin", tracked.bare("remote.git"))
    command = "ulimit -f 1024; git push --quiet origin HEAD:pushed"
    assert "Free some space" in tracked.refused("bash", "-c", command)
    assert tracked.git("ls-remote", "origin", "pushed") == ""
    tracked.git("push", "--quiet", "origin", "HEAD:pushed")
    tracked.git(
        "clone", "--quiet", "--no-checkout", str(tmp_path / "remote.git"), "c", cwd=tmp_path
    )
    clone = tracked.at(tmp_path / "c")
    assert "Free some space" in clone.refused("bash", "-c", "ulimit -f 1024; git theta fetch")
    assert clone.packs() == {}
    clone.git("reset", "--quiet", "--hard")
    assert clone.read("m.pt") == model(rows=2000)
    assert clone.theta("fsck").returncode == 0


def test_a_disk_that_is_full_of_what_a_command_says_is_no_bug(tracked, model):
    tracked.write("m.pt", model())
    tracked.commit("Model")
    said = tracked.refused("sh", "-c", "exec git theta show m.pt >/dev/full")
    assert said == "error: No space left on device\n"


@pytest.fixture
def bound_by_permissions(tracked):
    """The user, who as root is deprived of the privilege to write anywhere."""
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv is not there, and root may write everywhere")
        tracked.prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    return tracked


def test_a_store_that_may_only_be_read_checks_out_and_refuses_to_add(bound_by_permissions, model):
    desk = bound_by_permissions
    desk.write("m.pt", model())
    desk.commit("Model")
    before = desk.packs()
    folders = [desk.store, *(path for path in desk.store.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    (desk.store / "index.sqlite").chmod(0o444)
    (desk.path / "m.pt").unlink()
    desk.git("checkout", "--", "m.pt")
    assert (desk.read("m.pt"), desk.status()) == (model(), "")
    desk.write("m.pt", model(1))
    assert desk.git("status", "--porcelain") == " M m.pt\n"
    said = desk.refused("git", "add", "m.pt")
    assert "Cannot write to the store" in said
    assert "Traceback" not in said
    assert desk.packs() == before
    for folder in folders:
        folder.chmod(0o755)
    desk.commit("When it may be written")
    assert desk.status() == ""


@pytest.mark.parametrize("index", ["none", "older"])
def test_a_store_that_may_only_be_read_needs_no_index_that_knows_it(
    bound_by_permissions, model, index
):
    desk = bound_by_permissions
    desk.write("m.pt", model())
    desk.commit("Model")
    place = desk.store / "index.sqlite"
    older = place.read_bytes()
    desk.write("m.pt", model(1))
    desk.commit("Another")
    place.unlink()
    if index == "older":
        place.write_bytes(older)
        place.chmod(0o444)
    folders = [desk.store, *(path for path in desk.store.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    (desk.path / "m.pt").unlink()
    desk.git("checkout", "--", "m.pt")
    assert (desk.read("m.pt"), desk.status()) == (model(1), "")
    (desk.path / "m.pt").unlink()
    desk.git("theta", "checkout", "m.pt")
    assert (desk.read("m.pt"), desk.status()) == (model(1), "")
    desk.git("theta", "fsck")
    assert "may only be read" in desk.git("theta", "doctor")
    for folder in folders:
        folder.chmod(0o755)


def test_an_interrupted_add_says_so_and_stores_nothing_half(tracked, model):
    tracked.write("m.pt", model(1, rows=20_000))
    process = subprocess.Popen(
        ["git-theta-filter", "clean", "m.pt"],
        cwd=tracked.path,
        env=tracked.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # a shell that runs tests in the background has them ignore it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdin
    process.stdin.write(b"begun")
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode in (130, -signal.SIGINT)
    assert b"git-theta: error" not in said
    assert tracked.packs() == {}
