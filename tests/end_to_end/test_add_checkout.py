"""git theta add and git theta checkout: what git never pipes, and an index that knows it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def settled(desk, monkeypatch):
    """Makes files look written long ago: git asks the filter about those of this very second."""

    def settle(*names):
        for name in names:
            os.utime(desk.path / name, (1_600_000_000, 1_600_000_000))

    return settle


@pytest.fixture(params=["sha1", "sha256"])
def repository(request, desk, tmp_path):
    """A repository that tracks ``*.pt``, with either hash."""
    path = tmp_path / request.param
    desk.git("init", "--quiet", "-b", "main", f"--object-format={request.param}", str(path))
    made = desk.at(path)
    made.theta("track", "*.pt")
    made.commit("Track")
    return made


def test_after_theta_add_git_need_not_look_again(tracked, settled, filter_starts, model):
    tracked.write("m.pt", model())
    settled("m.pt")
    tracked.git("theta", "add", "m.pt")
    assert tracked.git("status", "--porcelain") == "A  m.pt\n"
    assert tracked.git("diff-files") == ""
    assert filter_starts() == []
    tracked.git("commit", "--quiet", "--message", "Model")
    assert tracked.git("status", "--porcelain") == ""
    assert filter_starts() == []
    assert tracked.clone("clone").read("m.pt") == model()


@pytest.mark.parametrize("version", [2, 3, 4])
def test_the_index_is_marked_whatever_its_version(repository, filter_starts, model, version):
    repository.git("config", "index.version", str(version))
    repository.git("update-index", f"--index-version={version}")
    names = ["a.pt", "deep/er/b.pt", "deep/er/bb.pt", "x" * 200 + ".pt"]
    for number, name in enumerate(names):
        file = repository.write(name, model(number))
        os.utime(file, (1_600_000_000, 1_600_000_000))
    if version == 3:  # only an extended entry makes git write this version
        repository.write("later.txt", b"not yet")
        repository.git("add", "--intent-to-add", "later.txt")
    repository.git("theta", "add", *names)
    index = (repository.path / ".git" / "index").read_bytes()
    assert index[:8] == b"DIRC" + version.to_bytes(4, "big")
    assert repository.git("diff-files", "--", "*.pt") == ""
    assert filter_starts() == []
    repository.git("fsck")
    repository.git("commit", "--quiet", "--message", "Models", "--", *names)
    assert repository.status().replace(" A later.txt\n", "") == ""


def test_a_split_index_is_left_to_git(tracked, settled, model):
    tracked.write("m.pt", model())
    tracked.commit("Model")
    tracked.git("update-index", "--split-index")
    tracked.write("m.pt", model(1))
    settled("m.pt")
    tracked.git("theta", "add", "m.pt")
    assert tracked.git("status", "--porcelain") == "M  m.pt\n"
    tracked.git("commit", "--quiet", "--message", "Second")
    (tracked.path / "m.pt").unlink()
    tracked.git("theta", "checkout")
    assert (tracked.read("m.pt"), tracked.status()) == (model(1), "")


def test_an_index_that_another_process_has_locked_is_named(tracked, model):
    tracked.write("m.pt", model())
    lock = tracked.path / ".git" / "index.lock"
    lock.touch()
    said = tracked.refused("git", "theta", "add", "m.pt")
    assert "index.lock" in said
    lock.unlink()
    tracked.git("theta", "add", "m.pt")
    assert tracked.git("status", "--porcelain") == "A  m.pt\n"


def test_a_file_changed_after_theta_add_is_seen(tracked, settled, model):
    tracked.write("m.pt", model())
    settled("m.pt")
    tracked.git("theta", "add", "m.pt")
    tracked.write("m.pt", model(1))
    assert tracked.git("status", "--porcelain") == "AM m.pt\n"


def test_theta_add_hands_everything_else_to_git(tracked, model):
    tracked.write("m.pt", model())
    tracked.write("notes.txt", b"notes")
    tracked.write(".gitignore", b"*.tmp\n")
    tracked.write("x.tmp", b"ignored")
    (tracked.path / "link.pt").symlink_to("m.pt")
    tracked.git("theta", "add", ".")
    staged = tracked.git("diff", "--cached", "--name-only").split()
    assert staged == [".gitignore", "link.pt", "m.pt", "notes.txt"]
    (tracked.path / "notes.txt").unlink()
    (tracked.path / "m.pt").unlink()
    tracked.git("theta", "add", "--", ".")
    staged = tracked.git("diff", "--cached", "--name-only").split()
    assert staged == [".gitignore", "link.pt"]
    assert "did not match any files" in tracked.refused("git", "theta", "add", "missing.pt")
    assert "ignored by one of your .gitignore files" in tracked.refused(
        "git", "theta", "add", "x.tmp"
    )


def test_checkout_writes_what_is_missing_and_leaves_what_is_there(
    tracked, filter_starts, model, settled
):
    for number in range(3):
        tracked.write(f"{number}.pt", model(number))
    tracked.commit("Three")
    settled("0.pt", "1.pt", "2.pt")
    (tracked.path / "1.pt").unlink()
    inode = (tracked.path / "0.pt").stat().st_ino
    filter_starts()
    done = tracked.theta("checkout")
    assert done.returncode == 0
    assert [line.split()[-1] for line in done.stderr.splitlines()] == ["1.pt"]
    assert (tracked.path / "0.pt").stat().st_ino == inode
    assert tracked.read("1.pt") == model(1)
    assert filter_starts() == []
    assert tracked.status() == ""


def test_checkout_takes_an_older_version_into_the_work_tree_only(tracked, model):
    tracked.write("m.pt", model())
    tracked.commit("First")
    tracked.write("m.pt", model(1))
    tracked.commit("Second")
    tracked.git("theta", "checkout", "--source", "HEAD~1", "m.pt")
    assert tracked.read("m.pt") == model()
    assert tracked.status() == " M m.pt\n"
    said = tracked.refused("git", "theta", "checkout", "m.pt")
    assert "m.pt" in said
    tracked.git("theta", "checkout", "--force", "m.pt")
    assert (tracked.read("m.pt"), tracked.status()) == (model(1), "")


@pytest.mark.parametrize("other", [b"changed", b"", b"git-theta metadata 1\nnot valid\n"])
def test_local_changes_are_not_overwritten_without_force(tracked, model, other):
    tracked.write("m.pt", model())
    tracked.commit("Model")
    tracked.write("m.pt", other)
    done = tracked.theta("checkout")
    assert done.returncode == 34
    assert "  m.pt\n" in done.stderr
    assert "--force" in done.stderr
    assert tracked.read("m.pt") == other
    tracked.git("theta", "checkout", "--force")
    assert (tracked.read("m.pt"), tracked.status()) == (model(), "")


def test_a_link_or_folder_in_place_of_the_file_is_not_overwritten(tracked, model, tmp_path):
    tracked.write("m.pt", model())
    tracked.commit("Model")
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    file = tracked.path / "m.pt"
    file.unlink()
    file.symlink_to(outside)
    assert tracked.theta("checkout").returncode == 34
    tracked.git("theta", "checkout", "--force")
    assert not file.is_symlink()
    assert (tracked.read("m.pt"), outside.read_bytes()) == (model(), b"mine")
    file.unlink()
    file.mkdir()
    (file / "inside").touch()
    said = tracked.refused("git", "theta", "checkout", "--force")
    assert "m.pt" in said
    assert "Traceback" not in said
    assert (file / "inside").exists()


def test_a_linked_folder_is_not_written_through(tracked, model, tmp_path):
    tracked.write("sub/m.pt", model())
    tracked.commit("Model")
    outside = tmp_path / "outside"
    outside.mkdir()
    (tracked.path / "sub" / "m.pt").unlink()
    (tracked.path / "sub").rmdir()
    (tracked.path / "sub").symlink_to(outside)
    said = tracked.refused("git", "theta", "checkout", "--force")
    assert "sub" in said
    assert "symbolic link" in said
    assert list(outside.iterdir()) == []


def test_checkout_of_what_is_not_stored_says_so(tracked):
    tracked.write("notes.txt", b"notes")
    tracked.commit("Notes")
    done = tracked.theta("checkout", "notes.txt")
    assert done.returncode == 50
    assert "git theta ls-files" in done.stderr
    assert tracked.theta("checkout").returncode == 0
    assert tracked.theta("checkout", "--source", "nowhere").returncode == 50


def test_checkout_follows_the_umask_and_the_executable_bit(tracked, model):
    tracked.write("m.pt", model()).chmod(0o755)
    tracked.write("n.pt", model(1))
    tracked.commit("Two")
    for name in ("m.pt", "n.pt"):
        (tracked.path / name).unlink()
    done = tracked.run("sh", "-c", "umask 027; git theta checkout")
    assert done.returncode == 0
    modes = [(tracked.path / name).stat().st_mode & 0o777 for name in ("m.pt", "n.pt")]
    assert modes == [0o750, 0o640]


def test_nothing_works_outside_of_a_work_tree_but_says_why(tracked, tmp_path):
    for command in (["add", "m.pt"], ["checkout"]):
        done = tracked.theta(*command, cwd=tmp_path)
        assert done.returncode == 50
        assert "Traceback" not in done.stderr
        done = tracked.theta(*command, cwd=Path(tracked.path / ".git"))
        assert done.returncode == 50


@pytest.mark.parametrize("style", ["LITERAL", "GLOB", "NOGLOB", "ICASE"])
def test_the_users_way_of_reading_pathspecs_does_not_change_what_is_added(tracked, model, style):
    tracked.git("config", "core.fileMode", "false")
    variable = {f"GIT_{style}_PATHSPECS": "1"}
    for name in ("m.pt", "t.txt", "sub/[x].txt", "sub/x.txt"):
        tracked.write(name, model())
    tracked.git("theta", "add", "m.pt", "t.txt", "sub/[x].txt", **variable)
    staged = tracked.git("diff", "--cached", "--name-only").split()
    literal = style in ("LITERAL", "NOGLOB")
    assert staged == ["m.pt", "sub/[x].txt", *([] if literal else ["sub/x.txt"]), "t.txt"]
    (tracked.path / "m.pt").unlink()
    tracked.git("theta", "checkout", "m.pt", **variable)
    assert tracked.read("m.pt") == model()
    assert tracked.theta("doctor", **variable).returncode == 0


@pytest.mark.parametrize("index", [{}, {"GIT_INDEX_FILE": ".git/other"}])
def test_a_repository_named_by_relative_variables_is_found_from_a_subfolder(tracked, model, index):
    tracked.write("m.pt", model())
    tracked.write("sub/n.pt", model(1))
    tracked.write("sub/n.txt", b"notes")
    where = {"GIT_DIR": "../.git", "GIT_WORK_TREE": "..", **index}
    sub = tracked.path / "sub"
    tracked.git("theta", "add", "../m.pt", "n.pt", "n.txt", cwd=sub, **where)
    listed = tracked.git("ls-files", "--full-name", "..", cwd=sub, **where).split()
    assert [name for name in listed if name != ".gitattributes"] == [
        "m.pt",
        "sub/n.pt",
        "sub/n.txt",
    ]
    (sub / "n.pt").unlink()
    tracked.git("theta", "checkout", "n.pt", cwd=sub, **where)
    assert tracked.read("sub/n.pt") == model(1)
    assert tracked.theta("doctor", cwd=sub, **where).returncode == 0
    assert "A  m.pt\n" in tracked.git("status", "--porcelain", **index)


def test_files_are_marked_after_all_others_were_added(tracked, model, monkeypatch):
    from git_theta.cli import add as module
    from git_theta.cli.main import main

    tracked.write("m.pt", model())
    tracked.write("notes.txt", b"notes")
    staged = []
    monkeypatch.setattr(
        module,
        "mark_unchanged",
        lambda top, stats: staged.extend(tracked.git("diff", "--cached", "--name-only").split()),
    )
    monkeypatch.chdir(tracked.path)
    assert main(["add", "."]) == 0
    assert staged == ["m.pt", "notes.txt"]


def test_a_file_changed_while_others_are_added_is_seen(tracked, settled, model, monkeypatch):
    from git_theta.cli import add as module
    from git_theta.cli.main import main

    for number in range(2):
        tracked.write(f"{number}.pt", model(number))
    settled("0.pt", "1.pt")
    real = module.settle

    def settle(top, stats):
        tracked.write("0.pt", model(2))
        settled("0.pt")
        real(top, stats)

    monkeypatch.setattr(module, "settle", settle)
    monkeypatch.chdir(tracked.path)
    assert main(["add", "."]) == 0
    assert tracked.git("status", "--porcelain") == "AM 0.pt\nA  1.pt\n"


def test_a_path_with_nothing_to_add_is_refused_as_git_refuses_it(tracked, model):
    tracked.write("m.pt", model())
    tracked.write("ignored.pt", model(1))
    tracked.write(".gitignore", b"ignored.pt\n")
    for path, said in (("typo.pt", "did not match any files"), ("ignored.pt", "ignored by one of")):
        done = tracked.theta("add", "m.pt", path)
        assert done.returncode != 0
        assert said in done.stderr
        assert tracked.git("ls-files", "m.pt") == "", "nothing is added then"
    (tracked.path / "empty").mkdir()
    assert tracked.theta("add", "m.pt", "empty").returncode == 0
    assert tracked.git("ls-files", "m.pt") == "m.pt\n"


@pytest.mark.parametrize("option", ["--no-sparse-index", "--sparse-index"])
def test_what_a_sparse_checkout_leaves_out_is_left_alone(tracked, model, option):
    for number, folder in enumerate(("one", "two")):
        tracked.write(f"{folder}/m.pt", model(number))
        tracked.write(f"{folder}/text", b"old")
    tracked.commit("Two folders")
    tracked.git("sparse-checkout", "set", option, "one")
    assert not (tracked.path / "two").exists()
    tracked.write("one/m.pt", model(2))
    tracked.write("one/text", b"new")
    done = tracked.theta("add", ".")
    assert done.returncode == 0, done.stderr
    assert tracked.status() == "M  one/m.pt\nM  one/text\n"


@pytest.mark.parametrize("command", ["checkout", "add"])
def test_who_has_no_filter_yet_gets_one(tracked, model, command):
    tracked.write("m.pt", model())
    tracked.commit("Model")
    tracked.git("theta", "uninstall")
    if command == "checkout":
        (tracked.path / "m.pt").unlink()
    else:
        tracked.write("m.pt", model(1))
    done = tracked.theta(command, "m.pt")
    assert done.returncode == 0
    assert "wrote its filter to the global git configuration" in done.stderr
    tracked.write("m.pt", model(2))
    tracked.git("commit", "--quiet", "--all", "--message", "Not as it is")
    assert tracked.git("show", "HEAD:m.pt").startswith("git-theta metadata 1\n")


def test_a_file_takes_the_place_of_a_folder(tracked, model):
    tracked.write("place.pt/m.pt", model())
    tracked.commit("A folder")
    (tracked.path / "place.pt/m.pt").unlink()
    (tracked.path / "place.pt").rmdir()
    tracked.write("place.pt", model(1))
    done = tracked.theta("add", "place.pt")
    assert done.returncode == 0, done.stderr
    assert tracked.git("ls-files", "place.pt") == "place.pt\n"
