"""What a push sends, to a folder of packs beside a real git remote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Desk = Any
Model = Callable[..., bytes]


@pytest.fixture
def team(tracked: Desk, tmp_path: Path) -> Desk:
    """A repository with a bare git remote ``origin`` whose packs lie in ``packs``."""
    tracked.git("init", "--quiet", "--bare", str(tmp_path / "origin.git"))
    tracked.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    (tmp_path / "packs").mkdir()
    tracked.git("theta", "remote", "add", "origin", str(tmp_path / "packs"))
    return tracked


def _there(team: Desk) -> set[str]:
    return {file.name for file in (team.path.parent / "packs").glob("?" * 64)}


def _push(team: Desk, *args: str) -> dict[str, Any]:
    done = team.theta("push", "--json", *args)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_push_sends_what_the_remote_lacks_and_no_more(team: Desk, model: Model) -> None:
    team.write("m.safetensors", model())
    team.commit("One")
    first = _push(team)
    assert first["remote"] == "origin"
    assert first["store"] == (team.path.parent / "packs").as_uri()
    assert {*first["sent"]} == {*first["needed"]} == {*team.packs()} == _there(team)
    assert first["bytes"] == sum(file.stat().st_size for file in team.packs().values())
    team.git("push", "--quiet", "--no-verify", "origin", "HEAD")
    team.write("m.safetensors", model(1))
    team.commit("Two")
    second = _push(team)
    assert {*second["sent"]} == {*team.packs()} - {*first["sent"]}
    assert {*second["needed"]} == {*team.packs()}
    assert _push(team)["sent"] == {}


def test_a_commit_that_another_one_replaces_here_is_sent_as_git_sends_it(
    team: Desk, model: Model
) -> None:
    for number in range(3):
        team.write("m.safetensors", model(number))
        team.commit(f"Step {number}")
    team.git("replace", "HEAD", "HEAD~2")
    team.git("push", "--quiet", "origin", "HEAD")
    assert _there(team) == {*team.packs()}
    assert len(_there(team)) == 3


def test_a_dry_run_sends_nothing(team: Desk, model: Model) -> None:
    team.write("m.safetensors", model())
    team.commit("One")
    told = _push(team, "--dry-run")
    assert {*told["sent"]} == {*team.packs()}
    assert _there(team) == set()
    assert "Would send 1 pack" in team.theta("push", "-n").stdout


def test_only_the_refs_that_are_asked_for_are_sent(team: Desk, model: Model) -> None:
    team.write("m.safetensors", model())
    team.commit("One")
    base = {*team.packs()}
    team.git("switch", "--quiet", "--create", "other")
    team.write("m.safetensors", model(1))
    team.commit("Two")
    other = {*team.packs()} - base
    team.git("tag", "-a", "-m", "Tagged", "v1")
    team.git("switch", "--quiet", "main")
    assert {*_push(team, "origin", "main")["sent"]} == base
    assert {*_push(team, "origin", "v1")["sent"]} == other
    assert _push(team, "--all")["sent"] == {}


def test_files_of_no_concern_ask_no_store(team: Desk) -> None:
    (team.path.parent / "packs").rmdir()
    team.write("readme.txt", b"text")
    team.commit("Text")
    assert _push(team)["store"] is None
    assert "no files of git-theta" in team.theta("push").stdout


def test_a_store_that_is_gone_fails_the_push(team: Desk, model: Model) -> None:
    team.write("m.safetensors", model())
    team.commit("One")
    (team.path.parent / "packs").rmdir()
    assert "There is no folder" in team.refused("git", "theta", "push")


def test_a_pack_that_nobody_has_fails_the_push_by_name(team: Desk, model: Model) -> None:
    team.write("m.safetensors", model())
    team.commit("One")
    (pack,) = team.packs()
    team.packs()[pack].unlink()
    said = team.refused("git", "theta", "push")
    assert f"pack {pack}" in said
    assert "m.safetensors" in said
    assert "git theta fetch" in said
    assert _there(team) == set()


def test_a_damaged_pack_is_not_sent(team: Desk, model: Model) -> None:
    team.write("m.safetensors", model())
    team.commit("One")
    (file,) = team.packs().values()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)
    assert file.name in team.refused("git", "theta", "push")
    assert _there(team) == set()


def test_packs_that_a_store_lost_are_sent_again_when_asked_to(team: Desk, model: Model) -> None:
    for seed in range(2):
        team.write("m.safetensors", model(seed))
        team.commit(f"{seed}")
    _push(team)
    team.git("push", "--quiet", "--no-verify", "origin", "HEAD")
    assert "has all packs of these commits' files" in team.theta("push").stdout
    for pack in (team.path.parent / "packs").glob("?" * 64):
        pack.unlink()
    assert {*_push(team)["sent"]} == _there(team) == {*team.packs()}
    (team.path.parent / "packs" / min(team.packs())).unlink()
    assert {*_push(team, "--all")["sent"]} == {min(team.packs())}


def test_what_an_earlier_push_left_out_is_sent_by_the_next(team: Desk, model: Model) -> None:
    team.write("m.safetensors", model())
    team.commit("One")
    _push(team)
    team.write("m.safetensors", model(1))
    team.commit("Two")
    team.git("push", "--quiet", "--no-verify", "origin", "HEAD")
    team.write("readme.txt", b"text")
    team.commit("Text")
    assert {*_push(team)["sent"]} <= {*team.packs()}
    assert _there(team) == {*team.packs()}


def test_a_new_store_gets_what_was_pushed_before(team: Desk, model: Model, tmp_path: Path) -> None:
    for seed in range(3):
        team.write("m.safetensors", model(seed))
        team.commit(f"{seed}")
    _push(team)
    team.git("push", "--quiet", "--no-verify", "origin", "HEAD")
    (tmp_path / "new").mkdir()
    team.git("theta", "remote", "add", "origin", str(tmp_path / "new"))
    assert {*_push(team)["sent"]} == {*team.packs()}
    assert {file.name for file in (tmp_path / "new").glob("?" * 64)} == {*team.packs()}


def test_packs_that_hold_what_no_pushed_commit_uses_are_named(team: Desk, model: Model) -> None:
    team.write("m.safetensors", model())
    team.git("add", ".")
    (first,) = team.packs()
    team.write("m.safetensors", model(1))
    team.commit("One")
    told = _push(team, "--dry-run")
    assert told["surplus"] == [{"pack": first, "buffers": 1, "nbytes": 64 * 64 * 4}]
    said = f"pack {first} also holds 1 value (16.4 kB) that no pushed commit uses"
    assert said in team.theta("push").stdout


def test_what_older_commits_use_is_no_surplus(team: Desk, model: Model) -> None:
    for seed in range(4):
        team.write("m.safetensors", model(seed))
        team.commit(f"{seed}")
    assert _push(team)["surplus"] == []


def test_after_a_repack_the_new_packs_are_sent_and_told_to_the_others(
    team: Desk, model: Model, tmp_path: Path
) -> None:
    for seed in range(3):
        team.write("m.safetensors", model(seed))
        team.commit(f"{seed}")
    before = {*team.packs()}
    team.git("theta", "repack", "--dense")
    after = {*team.packs()}
    assert not before & after
    assert {*_push(team)["sent"]} == after == _there(team)
    tree = team.git("ls-tree", "-r", "--name-only", "refs/theta/packs", cwd=tmp_path / "origin.git")
    blobs = team.git("rev-list", "--objects", "HEAD").splitlines()
    versions = {line.split()[0] for line in blobs if line.endswith(" m.safetensors")}
    assert {line.rpartition("/")[2] for line in tree.splitlines()} == versions
    assert _push(team)["sent"] == {}


def test_the_first_push_from_a_clone_mends_what_the_remote_lacks(
    team: Desk, model: Model, tmp_path: Path
) -> None:
    for seed in range(3):
        team.write("m.safetensors", model(seed))
        team.commit(f"{seed}")
    team.git("push", "--quiet", "--no-verify", "origin", "HEAD")
    team.git("fetch", "--quiet", "origin")
    team.write("readme.txt", b"text")
    team.commit("Text")
    team.git("push", "--quiet", "origin", "HEAD")
    assert _there(team) == {*team.packs()}


def test_what_others_left_out_is_a_warning_and_no_obstacle(team: Desk, model: Model) -> None:
    for seed in range(2):
        team.write("m.safetensors", model(seed))
        team.commit(f"{seed}")
        _push(team)
    team.git("push", "--quiet", "--no-verify", "origin", "HEAD")
    for pack, file in team.packs().items():
        file.unlink()
        (team.path.parent / "packs" / pack).unlink()
    team.write("readme.txt", b"text")
    team.git("add", "readme.txt")
    team.git("commit", "--quiet", "--message", "Text")
    team.git("theta", "push", "--dry-run")
    for record in (team.store / "remotes").iterdir():
        if record.suffix != ".history":
            record.unlink()
    done = team.run("git", "push", "origin", "HEAD")
    assert done.returncode == 0, done.stderr
    assert "neither the remote nor this repository has pack" in done.stderr


def test_a_push_to_the_url_of_a_remote_is_a_push_to_that_remote(team: Desk, model: Model) -> None:
    team.write("m.safetensors", model())
    team.commit("One")
    team.git("push", "--quiet", str(team.path.parent / "origin.git"), "HEAD")
    assert _there(team) == {*team.packs()}


def test_a_bare_repository_is_pushed_from(team: Desk, model: Model, tmp_path: Path) -> None:
    team.write("m.safetensors", model())
    team.commit("One")
    bare = tmp_path / "bare.git"
    team.git("clone", "--quiet", "--bare", str(team.path), str(bare))
    (bare / "theta").mkdir()
    team.store.joinpath("objects").rename(bare / "theta" / "objects")
    team.git("remote", "set-url", "origin", str(tmp_path / "origin.git"), cwd=bare)
    team.git("theta", "remote", "add", "origin", str(tmp_path / "packs"), cwd=bare)
    assert "Sent 1 pack" in team.git("theta", "push", cwd=bare)


def test_history_of_many_branches_and_tags_is_pushed_once(team: Desk, model: Model) -> None:
    team.write("m.safetensors", model())
    team.commit("One")
    for number in range(40):
        team.git("branch", f"b{number}")
        team.git("tag", f"t{number}")
    team.git("push", "--quiet", "--all", "origin")
    assert _there(team) == {*team.packs()}
    assert team.run("git", "push", "--tags", "origin").stderr.count("git-theta") == 0
