"""Commands that are killed at any moment: fsck is content, and what was pushed can be cloned.

``GIT_THETA_KILLS`` says at how many moments each command is killed, which are left to chance.
"""

from __future__ import annotations

import json
import os
import random
import shutil

import pytest
from test_failing_writes import KILL

KILLS = int(os.environ.get("GIT_THETA_KILLS", "4"))

pytestmark = pytest.mark.timeout(300 + 60 * KILLS)

PUSH = ("push", "--quiet", "origin", "main")


class Killer:
    """Runs commands of a user whose git-theta is killed after so many calls that touch the disk."""

    def __init__(self, desk, folder):
        (folder / "kill").mkdir()
        (folder / "kill" / "sitecustomize.py").write_text(KILL)
        paths = [str(folder / "kill"), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._desk, self._path = desk, os.pathsep.join(paths)
        self._calls = folder / "calls"
        self._random = random.Random(0)
        self.killed = 0

    def count(self, *command, desk=None):
        """Run a command to its end; how many such calls it makes."""
        self._calls.unlink(missing_ok=True)
        done = (desk or self._desk).run(
            *command, PYTHONPATH=self._path, TEST_CALLS=str(self._calls)
        )
        assert done.returncode == 0, done.stderr
        return self._calls.stat().st_size

    def run(self, calls, *command, desk=None):
        """Run a command and kill it at one of its calls; whether it came to its end."""
        at = self._random.randint(1, calls)
        done = (desk or self._desk).run(*command, PYTHONPATH=self._path, TEST_KILL_AT=str(at))
        self.killed += done.returncode != 0
        return done.returncode == 0


@pytest.fixture
def killer(tracked, tmp_path):
    return Killer(tracked, tmp_path)


@pytest.fixture
def shared(tracked, model, tmp_path):
    """The folder of a remote to which two versions were pushed."""
    folder = tmp_path / "shared"
    folder.mkdir()
    tracked.git("init", "--quiet", "--bare", str(tmp_path / "remote.git"))
    tracked.git("remote", "add", "origin", str(tmp_path / "remote.git"))
    tracked.git("config", "remote.origin.thetaStore", str(folder))
    tracked.git("config", "theta.pruneRecentDays", "0")
    for number in range(2):
        step(tracked, model, number)
    tracked.git(*PUSH)
    return folder


def step(desk, model, number):
    desk.write("m.pt", model(number, rows=32))
    desk.commit(f"Step {number}")


def assert_sound(desk, *options):
    done = desk.theta("fsck", "--json", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def assert_cloned(desk, shared, model, numbers):
    """Every version that the remote's branch has is there, and a fresh clone has the last one."""
    remote = desk.git("remote", "get-url", "origin").strip()
    made = desk.at(desk.path.parent / "fresh")
    config = ["-c", f"remote.origin.thetaStore={shared}"]
    options = ["--quiet", "--branch", "main", *config]
    desk.git("clone", *options, f"file://{remote}", str(made.path), cwd=desk.path.parent)
    assert made.read("m.pt") == model(numbers[-1], rows=32)
    assert made.git("log", "-1", "--format=%s").strip() == f"Step {numbers[-1]}"
    assert made.theta("fetch", "--all").returncode == 0
    found = assert_sound(made, "--remote")
    assert (found["versions"], found["elsewhere"]) == (len(numbers), 0)
    shutil.rmtree(made.path)


def test_adds_and_pushes(tracked, model, shared, killer):
    step(tracked, model, 2)
    sending = killer.count("git", *PUSH)
    tracked.write("m.pt", model(3, rows=32))
    adding = killer.count("git", "add", "m.pt")
    tracked.git("commit", "--quiet", "--message", "Step 3")
    tracked.git(*PUSH)
    numbers = [0, 1, 2, 3]
    for moment in range(KILLS):
        number = 4 + moment
        tracked.write("m.pt", model(number, rows=32))
        killer.run(adding, "git", "add", "m.pt")
        assert_sound(tracked)
        tracked.commit(f"Step {number}")
        acknowledged = killer.run(sending, "git", *PUSH)
        assert_sound(tracked)
        assert_cloned(tracked, shared, model, [*numbers, number] if acknowledged else numbers)
        tracked.git(*PUSH)
        numbers.append(number)
    assert killer.killed >= KILLS
    assert_cloned(tracked, shared, model, numbers)
    assert assert_sound(tracked, "--remote")["elsewhere"] == 0


def test_fetches(tracked, model, shared, killer, tmp_path):
    config = ["-c", f"remote.origin.thetaStore={shared}"]
    remote = str(tmp_path / "remote.git")
    tracked.git("clone", "--quiet", "--no-checkout", *config, remote, "clone", cwd=tmp_path)
    made = tracked.at(tmp_path / "clone")
    command = ("git", "theta", "fetch", "--all")
    calls = killer.count(*command, desk=made)
    for _ in range(KILLS):
        shutil.rmtree(made.store)
        killer.run(calls, *command, desk=made)
        assert_sound(made, "--remote")
        assert made.run(*command).returncode == 0
        assert assert_sound(made)["elsewhere"] == 0
    assert killer.killed > KILLS // 2
    made.git("checkout", "--quiet", "main")
    assert made.read("m.pt") == model(1, rows=32)


@pytest.mark.parametrize("command", ["prune", "gc", "repack"])
def test_looking_after_the_store(tracked, model, shared, killer, command):
    for number in (2, 3):
        step(tracked, model, number)
    tracked.git(*PUSH)
    options = ("--prune", "now") if command == "gc" else ()
    tracked.write("m.pt", model(9, rows=32))
    tracked.git("add", "m.pt")  # garbage, once it is reset
    tracked.git("reset", "--quiet", "--hard")
    kept = tracked.store.with_name("kept")
    shutil.copytree(tracked.store, kept)
    calls = killer.count("git", "theta", command, *options)
    for _ in range(KILLS):
        shutil.rmtree(tracked.store)
        shutil.copytree(kept, tracked.store)
        killer.run(calls, "git", "theta", command, *options)
        assert_sound(tracked, "--remote")
        for back in range(4):
            tracked.git("checkout", "--quiet", f"main~{back}")
            assert tracked.read("m.pt") == model(3 - back, rows=32)
        tracked.git("checkout", "--quiet", "main")
        assert tracked.theta(command, *options).returncode == 0
        assert_sound(tracked)
        assert tracked.status() == ""
    assert killer.killed > KILLS // 2
    assert_cloned(tracked, shared, model, [0, 1, 2, 3])
