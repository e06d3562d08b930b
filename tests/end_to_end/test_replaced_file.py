"""Another version of a file takes from the one in the work tree what both have."""

from __future__ import annotations

import os

import numpy as np
import pytest
from safetensors.numpy import save

from git_theta.cli.checkout import _write as write_file
from git_theta.git.received import open_file
from git_theta.git.repository import Repository
from git_theta.git.tracked import entries

ROWS = 1100
"""Of two groups of 4.3 MiB: the file is longer than what is kept in memory while git sends it."""
NAME = "m.safetensors"


def _file(**seeds: int) -> bytes:
    return save(
        {
            name: np.random.default_rng(seed).standard_normal((ROWS, 1024), np.float32)
            for name, seed in seeds.items()
        }
    )


@pytest.fixture
def history(tracked):
    """Tags one, two and three; the pack of a group that two and three share is damaged."""
    versions = {"one": _file(a=1), "two": _file(a=1, b=2), "three": _file(a=1, b=3)}
    for tag, data in versions.items():
        before = set(tracked.packs())
        tracked.write(NAME, data)
        tracked.commit(tag)
        tracked.git("tag", tag)
        if tag == "one":
            (pack,) = set(tracked.packs()) - before
    with tracked.packs()[pack].open("r+b") as file:
        file.seek(os.fstat(file.fileno()).st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(tracked.path / NAME)  # so that git has it looked at
    return tracked


def _checkout(desk):
    desk.git("checkout", "--quiet", "two")


def _own(desk):
    done = desk.theta("checkout", "--source", "two", NAME)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("replace", [_checkout, _own])
def test_what_both_versions_have_is_not_read_from_packs(history, replace):
    replace(history)
    assert history.read(NAME) == _file(a=1, b=2)
    (history.path / NAME).unlink()
    assert "group 'a'" in history.refused("git", "checkout", "three", "--", NAME)


def test_a_file_that_changed_is_not_read(history):
    """What git throws away, since it was told to, is no version: its groups are not looked for."""
    history.write(NAME, _file(a=4, b=4))
    assert "group 'a'" in history.refused("git", "checkout", "--force", "two")


def test_a_rebase_may_write_to_a_file_on_the_way(tracked):
    """All of it is one process, which had the file compared before a command wrote to it."""
    tracked.write(NAME, _file(a=1, b=1))
    tracked.commit("one")
    tracked.git("branch", "other")
    for seed in (2, 3):
        tracked.write(NAME, _file(a=1, b=seed))
        tracked.commit(f"b is {seed}")
    tracked.git("checkout", "--quiet", "other")
    two, todo = tracked.path.parent / "two", tracked.path.parent / "todo"
    two.write_bytes(_file(a=1, b=2))
    write = f"dd if={two} of={NAME} conv=notrunc"
    todo.write_text(f"exec {write} && git commit --all --quiet -m two\npick main\n")
    tracked.write("beside.txt", b"1")
    tracked.commit("beside")
    os.utime(tracked.path / NAME)
    tracked.git("rebase", "--quiet", "--interactive", "HEAD~", GIT_SEQUENCE_EDITOR=f"cp {todo}")
    assert tracked.read(NAME) == _file(a=1, b=3)


def test_what_changed_without_a_trace_is_read_from_packs(tracked, monkeypatch):
    """A page of a file that somebody has mapped may change at any time."""
    for seed in (2, 3):
        tracked.write(NAME, _file(a=1, b=seed))
        tracked.commit(f"b is {seed}")
    monkeypatch.chdir(tracked.path)
    for name, value in tracked.env.items():
        monkeypatch.setenv(name, value)
    file = tracked.path / NAME
    with Repository() as repository:
        (entry,), (indexed,) = (entries(repository, at, [NAME]) for at in ("HEAD~", None))
        with open_file(file) as received:
            repository.replaced.keep(NAME, repository.blob(indexed.oid), received)
        before = file.stat()
        with file.open("r+b") as written:
            written.write(bytes(before.st_size))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        write_file(repository, tracked.path, entry, None)
    assert tracked.read(NAME) == _file(a=1, b=2)
