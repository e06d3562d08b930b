"""The filter wherever git runs: folders, worktrees, submodules, bare clones, any path."""

from __future__ import annotations

import io
import json
import shutil
import tarfile

import pytest

ODD_NAMES = [
    "with space.pt",
    " leading and trailing .pt ",
    "tab\there.pt",
    "line\nbreak.pt",
    "ünïcödé 模型.pt",
    "quote\"s'.pt",
    "-leading-dash.pt",
    "--force.pt",
    "2:stage.pt",
    ":(top)magic.pt",
    "star*[x]?.pt",
    "back\\slash.pt",
    "$HOME.pt",
    "%f.pt",
    "not-utf8-\udcff.pt",
    "sub folder/a=b.pt",
]


@pytest.fixture
def everything(desk):
    """A repository in which git-theta stores every file but ``.gitattributes``."""
    desk.attributes = b"* filter=theta -text\n.gitattributes !filter !text\n"
    desk.commit("Track everything")
    return desk


def test_any_name_goes_through_add_clone_and_checkout(everything, model):
    contents = {name: model(number) for number, name in enumerate(ODD_NAMES)}
    for name, data in contents.items():
        everything.write(name, data)
    everything.commit("Odd names")
    assert everything.status() == ""
    listed = json.loads(everything.git("theta", "ls-files", "--json"))
    assert len(everything.git("ls-files", "-z").split("\0")) == len(ODD_NAMES) + 2
    assert {row["path"] for row in listed} == set(ODD_NAMES)
    clone = everything.clone("a clone")
    assert {name: clone.read(name) for name in ODD_NAMES} == contents
    assert clone.status() == ""
    for name, data in contents.items():
        clone.write(name, data[::-1])
    assert len(clone.git("diff", "-z", "--name-only").split("\0")) == len(ODD_NAMES) + 1
    assert clone.run("git", "theta", "checkout").returncode == 34
    clone.git("theta", "checkout", "--force")
    assert {name: clone.read(name) for name in ODD_NAMES} == contents
    assert clone.status() == ""


def test_theta_add_takes_any_name(everything, model):
    contents = {name: model(number) for number, name in enumerate(ODD_NAMES)}
    for name, data in contents.items():
        everything.write(name, data)
    everything.git("theta", "add", "--", *ODD_NAMES, GIT_LITERAL_PATHSPECS="1")
    assert everything.git("diff", "--name-only") == ""
    assert everything.status().count("A  ") == len(ODD_NAMES)


def test_a_file_named_like_a_stage_keeps_its_own_versions(everything, model):
    everything.write("stage.pt", model(1))
    everything.write("0:stage.pt", model(2))
    everything.commit("Both")
    everything.write("0:stage.pt", model(1))
    assert everything.status() == " M 0:stage.pt\n"
    everything.commit("The same now")
    assert everything.git("rev-parse", ":0:stage.pt") != ""
    assert everything.status() == ""


def test_git_works_from_a_subfolder(tracked, model):
    tracked.write("a/b/m.pt", model())
    sub = tracked.path / "a" / "b"
    tracked.git("add", "m.pt", cwd=sub)
    tracked.git("commit", "--quiet", "--message", "From below", cwd=sub)
    assert tracked.status() == ""
    tracked.write("a/b/m.pt", model(1))
    tracked.git("checkout", "m.pt", cwd=sub)
    assert tracked.read("a/b/m.pt") == model()
    tracked.write("a/b/m.pt", model(2))
    tracked.git("theta", "add", "m.pt", cwd=sub)
    tracked.git("commit", "--quiet", "--message", "Again", cwd=sub)
    assert tracked.status() == ""
    (sub / "m.pt").unlink()
    tracked.git("theta", "checkout", "m.pt", cwd=sub)
    assert tracked.read("a/b/m.pt") == model(2)
    assert tracked.status() == ""
    assert list(tracked.path.glob("a/**/theta")) == []


def test_worktrees_share_one_store(tracked, model, tmp_path):
    tracked.write("m.pt", model())
    tracked.commit("First")
    tracked.git("worktree", "add", "--quiet", "-b", "side", str(tmp_path / "tree"))
    tree = tracked.at(tmp_path / "tree")
    assert tree.store == tracked.store
    tree.write("m.pt", model(1))
    tree.commit("Second")
    assert (tree.status(), tracked.status()) == ("", "")
    tracked.git("merge", "--quiet", "side")
    assert tracked.read("m.pt") == model(1)
    tree.write("m.pt", model(2))
    tree.git("theta", "add", "m.pt")
    assert tree.git("status", "--porcelain") == "M  m.pt\n"
    assert tracked.status() == ""


def test_a_submodule_has_a_store_of_its_own(tracked, model, tmp_path, make_repo):
    tracked.write("m.pt", model())
    tracked.commit("Model")
    outer = tracked.at(make_repo("outer").path)
    allow = ("-c", "protocol.file.allow=always")
    skip = {"GIT_THETA_SKIP_SMUDGE": "1"}
    outer.git(*allow, "submodule", "--quiet", "add", str(tracked.path), "inner", **skip)
    inner = outer.at(outer.path / "inner")
    assert inner.store == (outer.path / ".git/modules/inner/theta").resolve()
    shutil.copytree(tracked.store / "objects", inner.store / "objects", dirs_exist_ok=True)
    inner.git("theta", "checkout")
    assert inner.read("m.pt") == model()
    outer.commit("Submodule")
    inner.write("m.pt", model(1))
    inner.commit("Changed")
    outer.commit("Changed inside")
    assert (inner.status(), outer.status()) == ("", "")
    assert not outer.packs()
    assert len(inner.packs()) == 2


def test_a_bare_clone_makes_archives(tracked, model, tmp_path):
    tracked.write("m.pt", model())
    tracked.commit("Model")
    bare = tmp_path / "bare.git"
    tracked.git("clone", "--quiet", "--bare", str(tracked.path), str(bare))
    shutil.copytree(tracked.store / "objects", bare / "theta" / "objects")
    tracked.git("archive", "--output", str(tmp_path / "out.tar"), "HEAD", cwd=bare)
    with tarfile.open(tmp_path / "out.tar") as archive:
        member = archive.extractfile("m.pt")
        assert member is not None
        assert member.read() == model()
    assert "m.pt" in tracked.git("theta", "ls-files", "HEAD", cwd=bare)
    assert "layer.0.weight" in tracked.git("theta", "show", "HEAD:m.pt", cwd=bare)
    assert tracked.theta("fsck", cwd=bare).returncode == 0


def test_an_archive_of_a_clone_without_weights_says_what_is_missing(tracked, model, tmp_path):
    tracked.write("m.pt", model())
    tracked.commit("Model")
    (pack,) = tracked.packs()
    bare = tracked.bare("bare.git")
    (tracked.store / "objects").rename(tmp_path / "away")
    said = tracked.refused("git", "archive", "HEAD", cwd=bare)
    assert pack in said


def test_a_repository_of_sha256_works(desk, model, tmp_path):
    path = tmp_path / "sha256"
    desk.git("init", "--quiet", "-b", "main", "--object-format=sha256", str(path))
    other = desk.at(path)
    other.theta("track", "*.pt")
    other.write("m.pt", model())
    other.commit("First")
    other.write("m.pt", model(1))
    other.git("theta", "add", "m.pt")
    other.git("commit", "--quiet", "--message", "Second")
    assert other.status() == ""
    other.git("checkout", "--quiet", "HEAD~1")
    assert other.read("m.pt") == model()
    (path / "m.pt").unlink()
    other.git("theta", "checkout")
    assert other.git("status", "--porcelain") == ""
    clone = other.clone("sha256-clone")
    assert clone.read("m.pt") == model()
    assert other.theta("fsck").returncode == 0


def test_a_sparse_checkout_writes_only_what_was_asked_for(tracked, model):
    tracked.write("in/m.pt", model(1))
    tracked.write("out/m.pt", model(2))
    tracked.commit("Two")
    tracked.git("sparse-checkout", "set", "in")
    assert not (tracked.path / "out").exists()
    assert tracked.status() == ""
    tracked.git("theta", "checkout")
    assert not (tracked.path / "out").exists()
    (tracked.path / "in" / "m.pt").unlink()
    tracked.git("theta", "checkout")
    assert tracked.read("in/m.pt") == model(1)
    assert tracked.git("status", "--porcelain") == ""
    tracked.git("sparse-checkout", "disable")
    assert tracked.read("out/m.pt") == model(2)
    assert tracked.status() == ""


@pytest.mark.parametrize("autocrlf", ["true", "input"])
def test_line_ends_of_weights_are_never_converted(tracked, autocrlf, model):
    tracked.git("config", "core.autocrlf", autocrlf)
    text = b"line\nline\r\nno more than text\n"
    tracked.write("text.pt", text)
    tracked.write("m.pt", model())
    tracked.commit("Both")
    clone = tracked.clone("clone", "-c", f"core.autocrlf={autocrlf}")
    assert (clone.read("text.pt"), clone.read("m.pt")) == (text, model())
    assert (tracked.status(), clone.status()) == ("", "")


def test_metadata_with_crlf_is_understood_both_ways(desk, model):
    # as an editor or core.autocrlf leaves it where the attributes lack -text
    desk.git("config", "core.autocrlf", "true")
    desk.attributes = b"*.pt filter=theta\n"
    desk.write("m.pt", model())
    desk.commit("Model")
    stored = desk.git("show", "HEAD:m.pt")
    clone = desk.clone("clone", "-c", "core.autocrlf=true")
    assert clone.read("m.pt") == model()
    clone.write("m.pt", stored.replace("\n", "\r\n").encode())
    clone.git("add", "m.pt")
    assert clone.git("show", ":m.pt") == stored
    assert clone.status() == ""


def test_links_and_the_executable_bit_stay(tracked, model):
    tracked.write("m.pt", model()).chmod(0o755)
    (tracked.path / "link.pt").symlink_to("m.pt")
    tracked.commit("Link")
    assert tracked.git("ls-files", "-s", "m.pt").startswith("100755")
    assert tracked.git("cat-file", "-p", ":link.pt") == "m.pt"
    clone = tracked.clone("clone")
    assert (clone.path / "link.pt").is_symlink()
    assert (clone.path / "m.pt").stat().st_mode & 0o100
    (clone.path / "m.pt").unlink()
    clone.git("theta", "checkout")
    assert (clone.path / "m.pt").stat().st_mode & 0o100
    (clone.path / "m.pt").chmod(0o644)
    clone.git("theta", "add", "m.pt", "link.pt")
    assert clone.git("ls-files", "-s", "m.pt").startswith("100644")
    assert clone.git("cat-file", "-p", ":link.pt") == "m.pt"


def test_hash_object_describes_what_it_was_given_and_not_the_file_there(tracked, model, tmp_path):
    tracked.write("m.pt", model())
    tracked.commit("Model")
    for rows in (64, 8192):  # 8 MiB and more do not stay in memory
        other = tmp_path / "other"
        other.write_bytes(model(3, rows))
        command = f"git hash-object -w --path m.pt --stdin < '{other}'"
        done = tracked.run("sh", "-c", command)
        assert done.returncode == 0, done.stderr
        oid = done.stdout.strip()
        text = tracked.git("cat-file", "blob", oid)
        assert f" {other.stat().st_size}\n" in text
        smudged = tmp_path / "smudged"
        command = f"git cat-file --filters --path=m.pt {oid} > '{smudged}'"
        assert tracked.run("sh", "-c", command).returncode == 0
        assert smudged.read_bytes() == other.read_bytes()
    assert tracked.status() == ""


def test_a_stream_that_leaves_the_file_halfway_is_stored_as_streamed(tracked, model, tmp_path):
    data = model(0, 16384)
    tracked.write("m.pt", data)
    for other in (data[:-1], data + b"\0", data[:20_000_000] + b"\0" + data[20_000_001:]):
        given = tmp_path / "given"
        given.write_bytes(other)
        command = f"git hash-object -w --path m.pt --stdin < '{given}'"
        oid = tracked.run("sh", "-c", command).stdout.strip()
        command = f"git cat-file --filters --path=m.pt {oid} | cmp - '{given}'"
        done = tracked.run("sh", "-c", command)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_an_archive_command_streams_into_memory(tracked, model):
    tracked.write("m.pt", model())
    tracked.commit("Model")
    archived = tracked.run("sh", "-c", "git archive HEAD m.pt | od -An -v -tx1 | tr -d ' \\n'")
    data = bytes.fromhex(archived.stdout)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getmember("m.pt").size == len(model())
