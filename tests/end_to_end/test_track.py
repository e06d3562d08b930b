"""git theta track: every effect is read back with git check-attr."""

from __future__ import annotations

import pytest


def test_track_writes_one_line_that_git_understands(desk):
    done = desk.theta("track", "model.pt")
    assert (done.returncode, done.stdout) == (0, "Tracking model.pt\n")
    assert desk.attributes == b"model.pt filter=theta -text\n"
    assert desk.tracks("model.pt")
    assert desk.tracks("deep/model.pt")
    assert not desk.tracks("other.pt")


def test_tracking_twice_says_so_and_adds_no_line(desk):
    desk.theta("track", "*.pt")
    done = desk.theta("track", "*.pt", "*.pt", "./*.pt")
    assert (done.returncode, done.stdout) == (0, "*.pt is tracked already\n")
    assert desk.attributes == b"*.pt filter=theta -text\n"


def test_a_leading_slash_adds_nothing_to_a_pattern_with_another(desk):
    desk.theta("track", "sub/model.pt")
    assert "already" in desk.theta("track", "/sub/model.pt").stdout
    assert desk.theta("untrack", "/sub/model.pt").returncode == 0
    assert desk.attributes == b""


def test_the_line_of_the_first_git_theta_is_completed_in_place(desk):
    desk.attributes = b"model.pt filter=theta\n*.md text\n"
    assert "-text was missing" in desk.theta("track", "model.pt").stdout
    assert desk.attributes == b"model.pt filter=theta -text\n*.md text\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"# mine\n\n*.md  text\n", b"# mine\n\n*.md  text\n*.pt filter=theta -text\n"),
        (b"*.md text", b"*.md text\n*.pt filter=theta -text\n"),
        (b"*.md text\r\n*.c text\r\n", b"*.md text\r\n*.c text\r\n*.pt filter=theta -text\r\n"),
        (b"*.md text\r\n*.c text", b"*.md text\r\n*.c text\r\n*.pt filter=theta -text\r\n"),
        (b"\xef\xbb\xbf*.md text\n", b"\xef\xbb\xbf*.md text\n*.pt filter=theta -text\n"),
        (b"caf\xe9 text\n", b"caf\xe9 text\n*.pt filter=theta -text\n"),
    ],
    ids=[
        "comments",
        "no last newline",
        "crlf",
        "crlf, no last newline",
        "byte order mark",
        "latin",
    ],
)
def test_what_stands_in_the_file_stays_as_it_is(desk, before, after):
    desk.attributes = before
    assert desk.theta("track", "*.pt").returncode == 0
    assert desk.attributes == after
    assert desk.tracks("x.pt")
    assert desk.theta("untrack", "*.pt").returncode == 0
    assert desk.attributes == after.replace(b"*.pt filter=theta -text", b"").rstrip(b"\r\n") + (
        b"\r\n" if b"\r\n" in before else b"\n"
    )


def test_a_pattern_that_git_lfs_owns_is_refused_with_file_and_line(desk):
    desk.attributes = b"# big\n*.bin filter=lfs diff=lfs merge=lfs -text\n"
    done = desk.theta("track", "*.bin")
    assert done.returncode == 51
    assert "'lfs' by .gitattributes:2" in done.stderr
    assert "git lfs untrack '*.bin'" in done.stderr
    assert desk.attributes == b"# big\n*.bin filter=lfs diff=lfs merge=lfs -text\n"


def test_a_bracket_pattern_that_another_driver_owns_is_refused(desk):
    desk.attributes = b"[ab].bin filter=crypt\n"
    done = desk.theta("track", "[ab].bin")
    assert done.returncode == 51
    assert "'crypt' by .gitattributes:1" in done.stderr


@pytest.mark.parametrize("where", ["sub/.gitattributes", ".git/info/attributes"])
def test_an_existing_file_that_another_driver_owns_is_refused_from_wherever(desk, where):
    sub = desk.path / "sub"
    sub.mkdir()
    (sub / "a.bin").write_bytes(b"a")
    (desk.path / where).write_text("[attr]secret filter=crypt\n\na.* secret\n")
    if where.startswith("sub"):  # git reads macros at the root only
        (desk.path / where).write_text("\n\na.* filter=crypt\n")
    done = desk.theta("track", "*.bin")
    assert done.returncode == 51
    assert f"sub/a.bin, which is given to the filter driver 'crypt' by {where}:3" in done.stderr


def test_the_driver_of_the_users_own_attributes_file_is_found(desk):
    (desk.home / ".config" / "git").mkdir(parents=True)
    (desk.home / ".config" / "git" / "attributes").write_text("*.bin filter=lfs\n")
    done = desk.theta("track", "x.bin")
    assert done.returncode == 51
    assert str(desk.home / ".config" / "git" / "attributes") + ":1" in done.stderr


def test_a_file_exempted_from_another_driver_can_be_tracked(desk):
    desk.attributes = b"*.bin filter=lfs\nmodel.bin !filter\n"
    assert desk.theta("track", "model.bin").returncode == 0
    assert desk.tracks("model.bin")
    assert desk.attribute("filter", "other.bin") == "lfs"


@pytest.mark.parametrize("attributes", ["binary", "text eol=crlf", "text=auto", "-filter"])
def test_attributes_that_name_no_driver_are_overruled(desk, attributes):
    desk.attributes = f"*.pt {attributes}\n".encode()
    assert desk.theta("track", "*.pt").returncode == 0
    assert desk.tracks("x.pt")


def test_a_pattern_exempted_below_is_tracked_again(desk):
    desk.attributes = b"*.pt filter=theta -text\n*.pt -filter\n"
    assert desk.theta("track", "*.pt").stdout == "Tracking *.pt\n"
    assert desk.tracks("x.pt")


def test_a_stronger_line_that_exempts_files_is_a_warning(desk):
    (desk.path / ".git" / "info" / "attributes").write_text("old.pt -filter\n")
    (desk.path / "old.pt").write_bytes(b"old")
    done = desk.theta("track", "*.pt")
    assert done.returncode == 0
    assert ".git/info/attributes:1 says old.pt -filter" in done.stderr


def test_files_in_the_index_are_named_with_the_command_that_adds_them_again(desk):
    (desk.path / "sub").mkdir()
    for name in ("a b.pt", "sub/c.pt", "d.txt", "new.pt"):
        (desk.path / name).write_bytes(b"weights")
    (desk.path / "link.pt").symlink_to("a b.pt")
    desk.git("add", "a b.pt", "sub/c.pt", "d.txt", "link.pt")
    done = desk.theta("track", "*.pt")
    assert "2 files are in git as they were before" in done.stderr
    assert "git add --renormalize -- 'a b.pt' sub/c.pt\n" in done.stderr
    assert "--renormalize" not in desk.theta("track", "*.pt").stderr
    done = desk.theta("untrack", "*.pt")
    assert "git add --renormalize -- 'a b.pt' sub/c.pt\n" in done.stderr


def test_the_command_for_files_in_the_index_fits_the_current_folder(desk):
    sub = desk.path / "sub"
    sub.mkdir()
    (sub / "c.pt").write_bytes(b"weights")
    desk.git("add", "sub/c.pt")
    done = desk.theta("track", "*.pt", cwd=sub)
    assert "git add --renormalize -- c.pt\n" in done.stderr
    assert desk.run("git", "ls-files", "--error-unmatch", "c.pt", cwd=sub).returncode == 0


def test_the_mode_of_the_attributes_file_is_kept(desk):
    desk.attributes = b"*.md text\n"
    (desk.path / ".gitattributes").chmod(0o640)
    desk.theta("track", "*.pt")
    assert (desk.path / ".gitattributes").stat().st_mode & 0o777 == 0o640
    assert not list(desk.path.glob(".gitattributes.*"))


def test_a_linked_attributes_file_is_refused_because_git_does_not_follow_it(desk):
    (desk.path / "elsewhere").write_text("")
    (desk.path / ".gitattributes").symlink_to("elsewhere")
    done = desk.theta("track", "*.pt")
    assert done.returncode == 51
    assert (desk.path / "elsewhere").read_text() == ""


def test_track_installs_globally_when_the_user_forgot(desk):
    desk.theta("uninstall")
    done = desk.theta("track", "*.pt")
    assert done.returncode == 0
    assert "wrote its filter to the global" in done.stderr
    assert desk.git("config", "--global", "filter.theta.required") == "true\n"
    assert "wrote its filter" not in desk.theta("track", "*.bin").stderr


@pytest.mark.parametrize(
    "change", [("HOME=/proc/none",), ("--unset=HOME",)], ids=["not writable", "not set"]
)
def test_track_installs_locally_where_there_is_no_home(desk, change):
    desk.theta("uninstall")
    done = desk.run("env", "-u", "XDG_CONFIG_HOME", *change, "git", "theta", "track", "*.pt")
    assert done.returncode == 0, done.stderr
    assert "wrote its filter to the local" in done.stderr
    assert desk.git("config", "--local", "filter.theta.required") == "true\n"


def test_track_does_not_install_over_a_driver_of_another_hand(desk):
    desk.theta("uninstall")
    desk.git("config", "--global", "filter.theta.clean", "my-own %f")
    done = desk.theta("track", "*.pt")
    assert done.returncode == 50
    assert "my-own" in done.stderr
    assert not (desk.path / ".gitattributes").exists()


def test_track_works_in_a_second_work_tree(desk, tmp_path):
    desk.git("commit", "--quiet", "--allow-empty", "-m", "first")
    other = tmp_path / "other"
    desk.git("worktree", "add", "--quiet", str(other))
    assert desk.theta("track", "*.pt", cwd=other).returncode == 0
    assert desk.tracks("x.pt", cwd=other)
    assert not desk.tracks("x.pt")
