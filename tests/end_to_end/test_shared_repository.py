"""Users who share one repository: ``core.sharedRepository`` holds for the store as well."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest


def modes(folder: Path) -> dict[str, int]:
    """The rights of a folder and of all below it, by path."""
    found = [folder, *folder.rglob("*")]
    return {
        str(path.relative_to(folder.parent)): stat.S_IMODE(path.stat().st_mode) for path in found
    }


@pytest.fixture
def used(tracked, model):
    """Makes and uses a repository as somebody whose umask leaves nothing to others."""

    def use(*options: str) -> None:
        (tracked.path / ".git").chmod(0o2755)
        (tracked.path / ".git/objects").chmod(0o2755)  # as in a group's folder on a cluster
        tracked.prefix = ["sh", "-c", 'umask 077; exec "$@"', "-"]
        tracked.git("init", "--quiet", *options)
        for number in range(2):
            tracked.write("m.pt", model(number))
            tracked.git("add", "m.pt")
            tracked.git("commit", "--quiet", "--message", f"Step {number}")
        tracked.git("checkout", "--quiet", "HEAD~1")
        (tracked.path / "m.pt").unlink()
        tracked.git("theta", "checkout")
        tracked.git("theta", "repack", "--dense")

    return use


def test_what_the_group_shares_is_the_groups(tracked, used):
    used("--shared=group")
    theta = modes(tracked.path / ".git" / "theta")
    assert {"theta/index.sqlite", "theta/proven", "theta/users.lock"} <= theta.keys()
    for path, mode in theta.items():
        kind = (tracked.path / ".git" / path).is_dir()
        least = 0o070 if kind else 0o040 if "/objects/" in path else 0o060
        assert mode & least == least, f"{path}: {mode:o}"
        assert kind or not mode & 0o002, f"{path}: {mode:o}"
    assert (tracked.path / ".git/index").stat().st_mode & 0o070 == 0o060
    assert stat.S_IMODE((tracked.path / "m.pt").stat().st_mode) == 0o600


def test_what_nobody_shares_is_private(tracked, used):
    used()
    for path, mode in modes(tracked.path / ".git" / "theta").items():
        if "/objects/" not in path:  # these are read-only, in a folder that nobody else may enter
            assert not mode & 0o077, f"{path}: {mode:o}"
    assert stat.S_IMODE((tracked.path / "m.pt").stat().st_mode) == 0o600


@pytest.mark.parametrize(("said", "least"), [("0640", 0o040), ("all", 0o064), ("2", 0o064)])
def test_it_may_be_told_in_any_way_that_git_knows(tracked, used, said, least):
    used(f"--shared={said}")
    mode = (tracked.path / ".git/theta/index.sqlite").stat().st_mode
    assert mode & 0o077 == least
