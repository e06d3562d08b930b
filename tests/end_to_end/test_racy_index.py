"""A file and the index written within one second: git cannot tell a later change by their times."""

from __future__ import annotations

import os

import pytest

from git_theta.cli import checkout as checkout_module
from git_theta.cli.main import main
from git_theta.git import index_file

SECOND = 1_600_000_000
"""Long ago, so that git itself has no doubt: what we write into the index decides."""


@pytest.fixture
def checked_out(tracked, model, monkeypatch):
    """Runs git theta checkout so that the file and then the index are written at given times.

    In the index is still the length of the metadata, which lay in the work tree before.
    """
    monkeypatch.setenv("GIT_THETA_SKIP_SMUDGE", "1")
    tracked.env["GIT_THETA_SKIP_SMUDGE"] = "1"
    tracked.write("m.pt", model())
    tracked.commit("Model")
    file = tracked.path / "m.pt"
    file.unlink()
    tracked.git("checkout", "--", "m.pt")
    os.utime(file, (SECOND - 60, SECOND - 60))
    assert tracked.git("status", "--porcelain") == ""  # git records length and time of the metadata
    assert file.stat().st_size != len(model())

    def run(file_written, index_written):
        real_write, real_written = checkout_module._write, index_file._written

        def write(*args):
            assert real_write(*args)
            os.utime(file, (file_written, file_written))
            return file.lstat()

        def written(fd):
            lock = (tracked.path / ".git" / "index.lock").stat()
            return index_written if os.path.samestat(os.fstat(fd), lock) else real_written(fd)

        monkeypatch.setattr(checkout_module, "_write", write)
        monkeypatch.setattr(index_file, "_written", written)
        monkeypatch.chdir(tracked.path)
        assert main(["checkout"]) == 0
        assert file.read_bytes() == model()
        return tracked

    return run


def test_a_file_of_this_very_second_is_looked_at_and_found_unchanged(checked_out, filter_starts):
    desk = checked_out(SECOND, SECOND)
    filter_starts()
    assert desk.git("status", "--porcelain") == ""
    assert len(filter_starts()) == 1
    assert desk.git("status", "--porcelain") == ""
    assert filter_starts() == []  # git has recorded the file by now


def test_a_file_of_the_second_before_is_not_looked_at(checked_out, filter_starts):
    desk = checked_out(SECOND, SECOND + 1)
    filter_starts()
    assert desk.git("status", "--porcelain") == ""
    assert filter_starts() == []


def test_a_change_within_the_second_of_the_checkout_is_seen(checked_out, model):
    """All that git compares is as it was: length, time in seconds, inode."""
    desk = checked_out(SECOND, SECOND)
    desk.git("config", "core.trustctime", "false")
    desk.write("m.pt", model(1))
    os.utime(desk.path / "m.pt", (SECOND, SECOND))
    assert len(model(1)) == len(model())
    assert desk.git("status", "--porcelain") == " M m.pt\n"


def test_another_file_of_the_second_of_the_old_index_is_looked_at_again(checked_out, tracked):
    """The new index is of a later second: by its times alone nobody would look any more."""
    tracked.write("notes.txt", b"one")
    os.utime(tracked.path / "notes.txt", (SECOND - 1, SECOND - 1))
    tracked.git("add", "notes.txt")
    tracked.git("config", "core.trustctime", "false")
    tracked.write("notes.txt", b"two")
    os.utime(tracked.path / "notes.txt", (SECOND - 1, SECOND - 1))
    os.utime(tracked.path / ".git" / "index", (SECOND - 1, SECOND - 1))
    desk = checked_out(SECOND, SECOND + 1)
    assert desk.git("status", "--porcelain") == "AM notes.txt\n"
