"""What may be given to git theta track: names, paths, folders, and what is refused."""

from __future__ import annotations

import pytest

NAMES = [
    "two words.pt",
    "tab\there.pt",
    "line\nbreak.pt",
    "bell\a.pt",
    'a "quoted" name.pt',
    '"begins.pt',
    "modèle-模型.pt",
    "-dash.pt",
    "--force",
    "!important.pt",
    "#1.pt",
    "a[1].pt",
    "[attr]x.pt",
    "star*.pt",
    "what?.pt",
    "back\\slash.pt",
    "ends\\",
    " leading and trailing ",
    "latin\udce9.pt",
]


@pytest.mark.parametrize("name", NAMES)
def test_filename_tracks_exactly_the_file_of_that_name(desk, name):
    done = desk.theta("track", "--filename", "--", name)
    assert done.returncode == 0, done.stderr
    assert desk.tracks(name)
    assert not desk.tracks(f"deep/{name}")
    assert not desk.tracks("a1.pt")
    assert not desk.tracks("starlight.pt")
    assert desk.theta("track", "--filename", "--", name).stdout.endswith("is tracked already\n")
    assert desk.theta("untrack", "--filename", "--", name).returncode == 0
    assert desk.attributes == b""


@pytest.mark.parametrize("name", ["two words.pt", "tab\there.pt", "-dash.pt", "#1.pt", "模型.pt"])
def test_a_pattern_may_hold_blanks_and_begin_with_anything_but_an_exclamation_mark(desk, name):
    assert desk.theta("track", "--", name).returncode == 0
    assert desk.tracks(name)
    assert desk.tracks(f"deep/{name}")


def test_a_folder_becomes_a_pattern_for_all_files_in_it(desk):
    (desk.path / "plain").mkdir()
    done = desk.theta("track", "models/", "plain", "wild*/")
    assert "models/ is a folder; git's attributes match files, so it is models/**\n" in done.stdout
    assert desk.attributes.decode().split("\n")[:3] == [
        "models/** filter=theta -text",
        "plain/** filter=theta -text",
        "wild*/** filter=theta -text",
    ]
    for path in ("models/a", "models/b/c.pt", "plain/x", "wilderness/x"):
        assert desk.tracks(path)
    assert not desk.tracks("other/models/a")


def test_paths_are_accepted_where_a_pattern_is_meant(desk):
    sub = desk.path / "sub"
    sub.mkdir()
    desk.theta("track", "./a.pt", "sub/../b.pt", "sub//c.pt", str(desk.path / "d.pt"))
    assert desk.attributes.decode().splitlines() == [
        f"{pattern} filter=theta -text" for pattern in ("a.pt", "b.pt", "sub/c.pt", "/d.pt")
    ]
    desk.theta("track", str(sub / "e.pt"), "f.pt", cwd=sub)
    assert (sub / ".gitattributes").read_text() == (
        "/e.pt filter=theta -text\nf.pt filter=theta -text\n"
    )
    assert desk.tracks("sub/e.pt")
    assert desk.tracks("sub/deeper/f.pt")
    assert not desk.tracks("f.pt")


def test_an_absolute_path_through_a_link_is_found_in_the_work_tree(desk, tmp_path):
    (tmp_path / "link").symlink_to(desk.path)
    assert desk.theta("track", str(tmp_path / "link" / "x.pt")).returncode == 0
    assert desk.attributes == b"/x.pt filter=theta -text\n"


@pytest.mark.parametrize("path", ["../x.pt", "/etc/passwd", "sub/../../x.pt"])
def test_paths_outside_of_the_folder_are_refused(desk, path):
    done = desk.theta("track", path)
    assert done.returncode == 51
    assert "outside" in done.stderr
    assert not (desk.path / ".gitattributes").exists()


def test_a_file_above_the_current_folder_is_refused_with_the_way_out(desk):
    sub = desk.path / "sub"
    sub.mkdir()
    done = desk.theta("track", str(desk.path / "x.pt"), cwd=sub)
    assert done.returncode == 51
    assert "in the folder of the file" in done.stderr


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("!x.pt", "negative pattern"),
        ("[attr]x", "macro"),
        ("x\\", "backslash"),
        ("", "Expected a pattern"),
        ("*", ".gitattributes"),
        (".", ".gitattributes"),
        (".git*", ".gitattributes"),
        ("x" * 2100, "more than 2047 bytes"),
    ],
)
def test_patterns_that_git_would_not_follow_are_refused(desk, pattern, reason):
    done = desk.theta("track", "good.pt", pattern)
    assert done.returncode == 51
    assert reason in done.stderr
    assert not (desk.path / ".gitattributes").exists()


def test_a_file_that_is_no_match_of_its_own_name_is_a_warning(desk):
    (desk.path / "a[1].pt").write_bytes(b"weights")
    done = desk.theta("track", "a[1].pt")
    assert done.returncode == 0
    assert "git theta track --filename 'a[1].pt'" in done.stderr
    assert "warning" not in desk.theta("track", "--filename", "a[1].pt").stderr
    assert desk.tracks("a[1].pt")
