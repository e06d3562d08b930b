"""git theta untrack, and the list of what is tracked."""

from __future__ import annotations

import json

import pytest


def test_track_alone_lists_the_lines_of_all_attributes_files(desk):
    (desk.path / "sub").mkdir()
    desk.attributes = b"[attr]model filter=theta -text\n*.bin filter=lfs\n\n*.pt model\n"
    (desk.path / "sub" / ".gitattributes").write_text('"a b.pt" filter=theta\nx.pt -filter\n')
    (desk.path / ".gitignore").write_text("sub/.gitattributes\n")
    (desk.path / ".git" / "info" / "attributes").write_text("*.npz filter=theta\n")
    (desk.home / "mine").write_text("*.h5 filter=theta\n")
    desk.git("config", "--global", "core.attributesFile", "~/mine")
    done = desk.theta("track", cwd=desk.path / "sub")
    assert done.stdout.splitlines() == [
        "Tracked patterns",
        f"    *.h5 ({desk.home / 'mine'}:1)",
        "    *.pt (.gitattributes:4)",
        '    "a b.pt" (sub/.gitattributes:1)',
        "    *.npz (.git/info/attributes:1)",
    ]
    listed = json.loads(desk.theta("track", "--json").stdout)["patterns"]
    assert [row["pattern"] for row in listed] == ["*.h5", "*.pt", "a b.pt", "*.npz"]
    assert listed[2] == {
        "pattern": "a b.pt",
        "file": "sub/.gitattributes",
        "line": 1,
        "attributes": ["filter=theta"],
    }


def test_the_list_reads_attributes_files_that_only_the_index_holds(desk):
    desk.attributes = b"*.pt filter=theta -text\n"
    desk.git("add", ".gitattributes")
    (desk.path / ".gitattributes").unlink()
    assert "*.pt (.gitattributes:1)" in desk.theta("track").stdout


def test_the_list_of_nothing_says_so(desk):
    assert desk.theta("track").stdout == "No pattern is tracked\n"
    assert json.loads(desk.theta("track", "--json").stdout) == {"patterns": []}


def test_untrack_keeps_other_attributes_and_other_lines(desk):
    desk.attributes = b"*.md text\n*.pt  diff=x  filter=theta -text\r\nb.pt filter=theta -text\n"
    assert desk.theta("untrack", "*.pt").stdout == "No longer tracking *.pt\n"
    assert desk.attributes == b"*.md text\n*.pt diff=x\r\nb.pt filter=theta -text\n"
    assert not desk.tracks("x.pt")
    assert desk.tracks("b.pt")
    assert desk.attribute("diff", "x.pt") == "x"


def test_untracking_what_is_not_tracked_here_tells_where_it_is(desk):
    sub = desk.path / "sub"
    sub.mkdir()
    desk.theta("track", "*.pt")
    done = desk.theta("untrack", "*.pt", cwd=sub)
    assert (done.returncode, done.stdout) == (0, "*.pt is not tracked in sub/.gitattributes\n")
    assert "tracked in .gitattributes:1" in done.stderr


def test_untrack_warns_of_files_that_another_line_tracks(desk):
    desk.theta("track", "*.pt", "a.pt")
    (desk.path / "a.pt").write_bytes(b"weights")
    done = desk.theta("untrack", "a.pt")
    assert ".gitattributes:1 says *.pt filter=theta -text" in done.stderr


@pytest.mark.parametrize("command", [("track", "*.pt"), ("track",), ("untrack", "*.pt")])
def test_outside_of_a_work_tree_is_an_error_of_git(desk, tmp_path, command):
    desk.git("init", "--quiet", "--bare", str(tmp_path / "bare.git"))
    for folder in (tmp_path, tmp_path / "bare.git", desk.path / ".git"):
        done = desk.theta(*command, cwd=folder)
        assert done.returncode == 50, folder
        assert "Expected a" in done.stderr
