"""Clones and checkouts that fetch what they lack, from folders and from a store that counts."""

from __future__ import annotations

import shutil
from pathlib import Path
from textwrap import dedent

import pytest

COUNTED = """
    from git_theta.hookspecs import hookimpl
    from git_theta.storage.folder import PackFolder
    from git_theta.storage.interface import StoreType

    class Counted(PackFolder):
        def _log(self, what, packs):
            with (self.folder / "log").open("a") as log:
                print(what, len(packs), file=log)

        def missing(self, packs):
            packs = list(packs)
            self._log("missing", packs)
            return super().missing(packs)

        def get(self, packs, sizes, advance=lambda _: None):
            self._log("get", packs)
            super().get(packs, sizes, advance)

    class CountedType(StoreType):
        scheme = "counted"

        def open(self, url):
            from pathlib import Path
            return Counted(Path(url.removeprefix("counted://")))

    @hookimpl
    def theta_stores():
        print("a plugin that writes to stdout")
        return [CountedType()]
"""


@pytest.fixture
def shared(tracked, model, tmp_path):
    """A folder with the packs of a repository of two branches, each with two models."""
    for branch, seed in (("main", 0), ("tuned", 1)):
        tracked.git("checkout", "--quiet", "-B", branch)
        tracked.write("m.pt", model(seed))
        tracked.write("sub/n.pt", model(seed + 2, rows=32))
        tracked.commit(branch)
    tracked.git("checkout", "--quiet", "main")
    folder = tmp_path / "shared"
    folder.mkdir()
    for name, file in tracked.packs().items():
        shutil.copyfile(file, folder / name)
    return folder


@pytest.fixture
def clone(shared, tracked, tmp_path):
    """Clones the repository with the folder, or what is said, as the store of its remote."""

    def clone(*options, name="clone", store=None, source=None):
        config = ["-c", f"remote.origin.thetaStore={store or shared}"]
        tracked.git(
            "clone", "--quiet", *config, *options, str(source or tracked.path), name, cwd=tmp_path
        )
        return tracked.at(tmp_path / name)

    return clone


@pytest.fixture
def counted(tracked, shared, tmp_path):
    """The URL of the folder as a store that counts requests; tells those since the last call."""
    site = tmp_path / "site"
    info = site / "theta_counted-1.dist-info"
    info.mkdir(parents=True)
    (site / "theta_counted.py").write_text(dedent(COUNTED))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theta-counted\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[git_theta]\nmain = theta_counted\n")
    tracked.env["PYTHONPATH"] = str(site)

    def requests():
        log = shared / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.write_text("")
        return lines

    return f"counted://{shared}", requests


def test_a_clone_fetches_all_that_it_checks_out_in_one_request(clone, counted, tracked, model):
    url, requests = counted
    made = clone(store=url)
    assert (made.read("m.pt"), made.read("sub/n.pt")) == (model(), model(2, rows=32))
    assert requests() == ["get 2"]
    assert made.status() == ""
    made.git("checkout", "--quiet", "tuned")
    assert (made.read("m.pt"), made.read("sub/n.pt")) == (model(1), model(3, rows=32))
    assert requests() == ["get 2"], "of the next version only what is new"
    made.git("checkout", "--quiet", "main")
    assert requests() == []
    assert made.packs().keys() == tracked.packs().keys()


def test_commands_that_only_read_never_fetch(clone, counted, tracked, model):
    url, requests = counted
    made = clone("--no-checkout", store=url)
    made.git("reset", "--quiet", "--mixed")
    made.write("m.pt", model(5))
    made.git("config", "diff.theta.textconv", "cat")
    (made.path / ".git/info/attributes").write_text("*.pt diff=theta\n")
    for command in (["status"], ["diff", "--stat"], ["log", "-p"], ["show", "HEAD:m.pt"]):
        made.git(*command)
    for command in (["diff"], ["show", "HEAD"]):
        made.run("git", *command)
    assert requests() == []
    assert made.packs() == {}


@pytest.mark.parametrize(
    "command",
    [
        ["checkout", "--quiet", "HEAD", "--", "."],
        ["reset", "--quiet", "--hard"],
        ["theta", "checkout"],
        ["merge", "--quiet", "--no-edit", "origin/tuned"],
        ["checkout-index", "--all"],
        ["stash", "apply", "--quiet", "origin/stashed"],
        ["worktree", "add", "--quiet", "--force", "../worktree", "main"],
        ["archive", "--output", "../archive.tar", "main"],
    ],
    ids=lambda command: command[0] + command[1],
)
def test_whatever_writes_files_fetches(clone, counted, tracked, command, model):
    tracked.write("m.pt", model(4))
    tracked.git("stash", "--quiet")
    tracked.git("update-ref", "refs/heads/stashed", "stash")
    shutil.copytree(tracked.store / "objects", Path(counted[0][10:]), dirs_exist_ok=True)
    url, requests = counted
    made = clone("--no-checkout", store=url)
    made.git("read-tree", "HEAD")
    if "merge" in command or "stash" in command:
        made.git("reset", "--quiet", "--hard")
        requests()
    made.git(*command)
    gets = [line for line in requests() if line.startswith("get")]
    assert 1 <= len(gets) <= 2
    assert made.theta("fsck").returncode in (0, 30)


def test_a_pack_that_nobody_has_is_named_with_the_stores_that_were_asked(clone, shared, tracked):
    first = tracked.git("show", "main:m.pt").split("\npack ")[1].split()[0]
    (shared / first).unlink()
    made = clone("--no-checkout", source=tracked.bare("bare.git"))
    made.git("remote", "add", "other", "/nowhere")
    made.git("config", "remote.other.thetaStore", str(shared / "nowhere"))
    said = made.refused("git", "checkout", "--quiet", "main")
    assert f"pack {first}" in said
    assert f"origin (file://{shared}): does not have them" in said
    assert f"other (file://{shared}/nowhere): There is no folder" in said
    assert "Try again once this is mended; what arrived is kept" in said
    assert said.count(f"pack {first}") == 1, "said once, whatever needs it"
    rest = {name for name in tracked.packs() if name in tracked.git("show", "main:sub/n.pt")}
    assert made.packs().keys() == rest - {first}, "what arrived stays"
    shutil.copyfile(tracked.packs()[first], shared / first)
    made.git("reset", "--quiet", "--hard")
    assert made.status() == ""


def test_a_damaged_pack_does_not_get_in_and_holds_nothing_else_up(clone, shared, tracked):
    first = tracked.git("show", "main:m.pt").split("\npack ")[1].split()[0]
    data = bytearray((shared / first).read_bytes())
    data[len(data) // 2] ^= 1
    (shared / first).write_bytes(data)
    made = clone("--no-checkout", source=tracked.bare("bare.git"))
    said = made.refused("git", "checkout", "--quiet", "main")
    assert f"Pack {first} at {shared / first} is corrupt" in said
    assert len(made.packs()) == 1
    assert first not in made.packs()
    made.git("remote", "add", "other", "/nowhere")
    made.git("config", "remote.other.thetaStore", str(tracked.store / "objects"))
    made.git("reset", "--quiet", "--hard")
    assert made.status() == ""


def test_what_arrived_for_a_killed_process_is_not_fetched_again(clone, counted, tracked):
    url, requests = counted
    made = clone("--no-checkout", store=url)
    arrived = made.store / "objects" / "tmp" / "fetch-killed"
    arrived.mkdir(parents=True)
    for name, file in tracked.packs().items():
        shutil.copyfile(file, arrived / name)
    damaged = next(name for name in tracked.packs() if name in tracked.git("show", "main:m.pt"))
    (arrived / damaged).write_bytes(bytes((arrived / damaged).stat().st_size))
    made.git("checkout", "--quiet", "main")
    assert requests() == ["get 1"]
    assert made.status() == ""


def test_a_clone_without_a_remote_says_what_is_lacking(clone, tracked):
    made = clone("--no-checkout")
    made.git("remote", "remove", "origin")
    said = made.refused("git", "checkout", "--quiet", "main")
    assert "Run git theta fetch, or copy these packs" in said


def test_fetching_into_a_repacked_store_asks_only_for_what_is_new(clone, counted, model):
    url, requests = counted
    made = clone(store=url)
    made.git("theta", "repack")
    requests()
    made.git("checkout", "--quiet", "tuned")
    assert requests() == ["get 2"]
    assert (made.read("m.pt"), made.read("sub/n.pt")) == (model(1), model(3, rows=32))


@pytest.mark.parametrize("options", [["--depth", "1"], ["--filter=blob:none"], ["--mirror"]])
def test_clones_of_other_kinds_fetch(clone, tracked, tmp_path, options, model):
    tracked.git("config", "uploadpack.allowFilter", "true")
    made = clone(*options, source=f"file://{tracked.path}")
    if options == ["--mirror"]:
        made.git("archive", "--output", str(tmp_path / "all.tar"), "main")
        shutil.unpack_archive(tmp_path / "all.tar", tmp_path / "unpacked")
        made = made.at(tmp_path / "unpacked")
    assert (made.read("m.pt"), made.read("sub/n.pt")) == (model(), model(2, rows=32))


def test_a_submodule_fetches_from_its_own_remote(clone, shared, tracked, tmp_path, model):
    tracked.git("init", "--quiet", "outer", cwd=tmp_path)
    outer = tracked.at(tmp_path / "outer")
    outer.git("config", "--global", "protocol.file.allow", "always")
    outer.git("config", "--global", "remote.origin.thetaStore", str(shared))
    outer.git("submodule", "--quiet", "add", str(tracked.path), "inner")
    assert outer.read("inner/m.pt") == model()
    assert tracked.at(outer.path / "inner").packs()


@pytest.fixture
def lfs_origin(tracked, model, tmp_path):
    """A bare remote on this machine whose packs lie where git-lfs has its objects."""
    tracked.git("init", "--quiet", "--bare", "--initial-branch=main", str(tmp_path / "origin.git"))
    tracked.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    for seed in range(3):
        tracked.write("m.pt", model(seed))
        tracked.commit(f"Seed {seed}")
    assert tracked.theta("push").returncode == 0
    tracked.git("push", "--quiet", "--no-verify", "origin", "main")
    return tmp_path / "origin.git"


@pytest.mark.parametrize("options", [[], ["--depth", "1"], ["--no-local"]])
def test_a_clone_of_a_remote_on_this_machine_needs_no_settings(
    lfs_origin, tracked, model, tmp_path, options
):
    tracked.git("clone", "--quiet", *options, lfs_origin.as_uri(), "clone", cwd=tmp_path)
    clone = tracked.at(tmp_path / "clone")
    assert clone.read("m.pt") == model(2)
    assert clone.status() == ""
    if not options:
        for seed in range(3):
            clone.git("checkout", "--quiet", f"HEAD~{2 - seed}")
            assert clone.read("m.pt") == model(seed)
            clone.git("checkout", "--quiet", "main")
        assert clone.packs().keys() == tracked.packs().keys()


def test_a_bundle_is_checked_out_with_the_packs_of_a_remote(lfs_origin, tracked, model, tmp_path):
    tracked.git("bundle", "create", "--quiet", str(tmp_path / "all.bundle"), "--all")
    tracked.git(
        "clone", "--quiet", "--no-checkout", str(tmp_path / "all.bundle"), "b", cwd=tmp_path
    )
    clone = tracked.at(tmp_path / "b")
    clone.git("remote", "add", "lfs", str(lfs_origin))
    clone.git("checkout", "--quiet", "main")
    assert clone.read("m.pt") == model(2)


def test_a_suggested_store_is_shown_before_anything_is_asked_there(
    shared, tracked, model, tmp_path
):
    tracked.git("config", "-f", ".gittheta", "theta.store", shared.as_uri())
    tracked.commit("Suggest", ".gittheta")
    command = ["clone", "--quiet", tracked.bare("bare.git"), "clone"]
    said = tracked.refused("git", *command, cwd=tmp_path)
    assert f"git theta remote accept {shared.as_uri()}" in said
    clone = tracked.at(tmp_path / "clone")
    assert clone.packs() == {}
    clone.git("theta", "remote", "accept", shared.as_uri())
    assert "Fetched 2 packs" in clone.git("theta", "fetch")
    clone.git("reset", "--quiet", "--hard")
    assert clone.read("m.pt") == model()
