"""Whatever runs at the same time, in one repository or in two work trees: nothing gets lost."""

from __future__ import annotations

import subprocess

import pytest


@pytest.fixture
def team(tracked, model, tmp_path):
    """A repository with a second work tree, whose three versions a remote has."""
    (tmp_path / "packs").mkdir()
    tracked.git("init", "--quiet", "--bare", str(tmp_path / "remote.git"))
    tracked.git("remote", "add", "origin", str(tmp_path / "remote.git"))
    tracked.git("theta", "remote", "add", "origin", str(tmp_path / "packs"))
    tracked.git("config", "theta.pruneRecentDays", "0")
    for number in range(3):
        tracked.write("m.pt", model(number))
        tracked.commit(f"{number}")
        tracked.git("tag", f"v{number}")
    tracked.git("push", "--quiet", "--tags", "origin", "main")
    tracked.git("worktree", "add", "--quiet", "-b", "other", str(tmp_path / "other"))
    return tracked


@pytest.mark.parametrize("tidy", [["gc"], ["repack"]], ids=lambda words: words[0])
def test_adds_prunes_and_fetches_disturb_each_other_in_no_way(team, model, tmp_path, tidy):
    other = team.at(tmp_path / "other")
    for turn in range(2):
        contents = [model(10 + 2 * turn), model(11 + 2 * turn)]
        for desk, data in zip((team, other), contents, strict=True):
            desk.write("m.pt", data)
        commands = [
            (team, ["git", "add", "m.pt"]),
            (other, ["git", "add", "m.pt"]),
            (team, ["git-theta", "prune"]),
            (other, ["git-theta", "fetch", "--all"]),
            (other, ["git-theta", "prune"]),
            (team, ["git-theta", *tidy]),
            (team, ["git-theta", "push", "--all"]),
        ]
        running = [
            subprocess.Popen(
                command,
                cwd=desk.path,
                env=desk.env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            for desk, command in commands
        ]
        said = [process.communicate()[0] for process in running]
        assert [process.returncode for process in running] == [0] * len(running), said
        for desk, data in zip((team, other), contents, strict=True):
            desk.git("commit", "--quiet", "--message", f"Turn {turn}")
            (desk.path / "m.pt").unlink()
            desk.git("checkout", "--", "m.pt")
            assert desk.read("m.pt") == data
    assert team.theta("fsck", "--remote").returncode == 0
    for number in range(3):
        team.git("checkout", "--quiet", f"v{number}")
        assert team.read("m.pt") == model(number)
