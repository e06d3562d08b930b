"""What each git command makes of the store: readers write nothing, the same bytes cost nothing."""

from __future__ import annotations

import os

import pytest

READERS = [
    ["status"],
    ["status", "--porcelain=v2"],
    ["diff"],
    ["diff", "--stat"],
    ["diff", "HEAD"],
    ["-c", "core.pager=cat", "--no-pager", "diff", "--quiet"],
    ["diff-files", "-p"],
    ["diff-index", "-p", "HEAD"],
    ["describe", "--dirty", "--always"],
    ["blame", "m.pt"],
    ["grep", "anything"],
    ["st"],
    ["st-twice"],
    ["look"],
    ["ls-files", "--modified"],
]


@pytest.fixture
def changed(tracked, model):
    """A committed model that was changed since, and is to be looked at."""
    for name, value in {
        "st": "status --short",
        "st-twice": "-c color.status=never status",
        "look": "!git status; git diff",
    }.items():
        tracked.git("config", "--global", f"alias.{name}", value)
    tracked.write("m.pt", model())
    tracked.commit("First")
    tracked.write("m.pt", model(1))
    return tracked


def contents(folder):
    """Every file below a folder but the index, with its length."""
    return {
        path.relative_to(folder): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and path.name != "index.sqlite"
    }


def test_commands_that_only_read_write_nothing(changed):
    before = contents(changed.store), contents(changed.path / ".git" / "objects")
    for command in READERS:
        done = changed.run("git", *command)
        assert done.returncode in (0, 1), done.stderr
        after = contents(changed.store), contents(changed.path / ".git" / "objects")
        assert after == before, command


def test_what_a_reader_shows_is_what_changed(changed):
    shown = changed.git("diff").splitlines()
    lines = [line for line in shown if line[:1] in "+-" and " layer." in line]
    assert [line[:21] for line in lines] == ["-group layer.1.weight", "+group layer.1.weight"]


def test_git_add_stores_what_changed_and_the_same_again_stores_nothing(changed, model):
    before = changed.packs()
    changed.git("add", "m.pt")
    stored = changed.packs()
    assert len(stored) == len(before) + 1
    for _ in range(2):
        os.utime(changed.path / "m.pt")
        changed.git("add", "m.pt")
    changed.write("same-under-another-name.pt", model(1))
    changed.git("add", ".")
    changed.git("theta", "add", ".")
    assert changed.packs() == stored


def test_no_alias_of_a_name_that_git_has_is_looked_up(changed):
    before = changed.packs()
    changed.git("config", "--global", "alias.add", "status")  # git ignores it
    done = changed.run("git", "add", "m.pt", GIT_TRACE="1")
    assert "built-in: git cat-file" in done.stderr
    assert "alias.add" not in done.stderr
    assert len(changed.packs()) == len(before) + 1


def test_the_old_version_stores_nothing_but_metadata(changed, model):
    changed.commit("Second")
    stored = changed.packs()
    first = changed.git("show", "HEAD~1:m.pt")
    changed.write("m.pt", model())
    changed.commit("As first")
    assert changed.packs() == stored
    assert changed.git("show", "HEAD:m.pt") == first


def test_one_process_serves_all_files_of_a_command(tracked, filter_starts, model):
    for number in range(5):
        tracked.write(f"{number}.pt", model(number))
    tracked.git("add", ".")
    assert filter_starts() == ["process"]
    tracked.git("commit", "--quiet", "--message", "Five")
    filter_starts()
    for number in range(5):
        (tracked.path / f"{number}.pt").unlink()
    tracked.git("checkout", "--quiet", ".")
    assert filter_starts() == ["process"]
    assert tracked.read("4.pt") == model(4)


def test_one_bad_file_does_not_take_the_others_along(tracked, model, metadata_without_a_file):
    tracked.write("a.pt", model(1))
    tracked.write("b.pt", metadata_without_a_file)
    tracked.write("c.pt", model(3))
    tracked.commit("One of three is lost")
    for name in ("a.pt", "b.pt", "c.pt"):
        (tracked.path / name).unlink()
    said = tracked.refused("git", "checkout", ".")
    assert "b.pt" in said
    tracked.git("checkout", "a.pt")
    tracked.git("checkout", "c.pt")
    assert (tracked.read("a.pt"), tracked.read("c.pt")) == (model(1), model(3))


def test_nothing_is_left_in_temporary_folders(changed, model):
    changed.git("add", "m.pt")
    changed.write("m.pt", model(2, rows=50_000))
    changed.git("add", "m.pt")
    changed.git("stash")
    left = [path for path in changed.store.rglob("*") if path.parent.name == "tmp"]
    assert left == []
