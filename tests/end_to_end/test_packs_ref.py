"""The ref of ours on a git remote: pointers for its server's collector, and fresh hints."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

Desk = Any
Model = Callable[..., bytes]

REF = "refs/theta/packs"


@pytest.fixture
def team(tracked: Desk, tmp_path: Path) -> Desk:
    """A repository with a bare remote that keeps packs as Git LFS objects."""
    if shutil.which("git-lfs") is None:
        pytest.skip("git-lfs is not installed")
    tracked.git("init", "--quiet", "--bare", str(tmp_path / "origin.git"))
    tracked.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    return tracked


def _origin(team: Desk) -> Path:
    return team.path.parent / "origin.git"


def _files(team: Desk, where: str = "") -> dict[str, str]:
    """Content of all files of the ref on the remote, by path."""
    listed = team.git("ls-tree", "-r", "--name-only", f"{REF}:{where}", cwd=_origin(team))
    return {
        name: team.git("cat-file", "blob", f"{REF}:{where}{name}", cwd=_origin(team))
        for name in listed.splitlines()
    }


def _objects(team: Desk) -> set[str]:
    folder = _origin(team) / "lfs" / "objects"
    return {file.name for file in folder.rglob("?" * 64)}


def _version(team: Desk, model: Model, seed: int) -> None:
    team.write("m.safetensors", model(seed))
    team.commit(f"{seed}")


def test_every_pack_that_is_pushed_has_a_pointer_under_the_ref(team: Desk, model: Model) -> None:
    for seed in range(3):
        _version(team, model, seed)
        team.git("push", "--quiet", "origin", "HEAD")
        sizes = {pack: file.stat().st_size for pack, file in team.packs().items()}
        assert _objects(team) == {*sizes}
        assert _files(team) == {
            f"packs/{pack[:2]}/{pack}": "version https://git-lfs.github.com/spec/v1\n"
            f"oid sha256:{pack}\nsize {size}\n"
            for pack, size in sizes.items()
        }
    assert len(team.git("log", "--format=%h", REF, cwd=_origin(team)).splitlines()) == 3


def test_git_lfs_itself_finds_the_packs_by_the_ref(team: Desk, model: Model) -> None:
    _version(team, model, 0)
    team.git("push", "--quiet", "origin", "HEAD")
    other = team.at(team.path.parent / "other")
    team.git("init", "--quiet", str(other.path))
    other.git("fetch", "--quiet", str(_origin(team)), f"{REF}:{REF}")
    other.git("remote", "add", "origin", str(_origin(team)))
    other.git("lfs", "fetch", "origin", REF)
    found = [file for file in (other.path / ".git/lfs/objects").rglob("*") if file.is_file()]
    assert {hashlib.sha256(file.read_bytes()).hexdigest() for file in found} == {*team.packs()}


def test_a_push_without_news_asks_the_remote_for_nothing_more(team: Desk, model: Model) -> None:
    _version(team, model, 0)
    team.git("push", "--quiet", "origin", "HEAD")
    before = team.git("rev-parse", REF, cwd=_origin(team))
    team.write("readme.txt", b"text")
    team.commit("Text")
    trace = team.path.parent / "trace"
    team.git("push", "--quiet", "origin", "HEAD", GIT_TRACE=str(trace))
    assert REF not in trace.read_text()
    assert team.git("rev-parse", REF, cwd=_origin(team)) == before


def test_nothing_of_it_shows_in_the_repository(team: Desk, model: Model) -> None:
    _version(team, model, 0)
    team.git("push", "--quiet", "origin", "HEAD")
    refs = team.git("for-each-ref", "--format=%(refname)").splitlines()
    assert refs == ["refs/heads/main", "refs/remotes/origin/main"]
    assert len(team.git("log", "--all", "--format=%h").splitlines()) == 2


def test_who_pushes_second_keeps_what_the_first_wrote(
    team: Desk, model: Model, tmp_path: Path
) -> None:
    _version(team, model, 0)
    team.git("push", "--quiet", "origin", "HEAD")
    clone = team.clone("clone")
    clone.git("remote", "set-url", "origin", str(_origin(team)))
    _version(team, model, 1)
    team.git("push", "--quiet", "origin", "HEAD")
    _version(clone, model, 2)
    clone.git("push", "--quiet", "origin", "HEAD:refs/heads/other")
    wanted = {*team.packs(), *clone.packs()}
    assert {Path(name).name for name in _files(team)} == wanted == _objects(team)


def test_many_who_push_at_once_all_get_their_pointers_there(team: Desk, model: Model) -> None:
    _version(team, model, 0)
    clones = [team.clone(f"clone{number}") for number in range(5)]
    for number, clone in enumerate(clones):
        clone.git("remote", "set-url", "origin", str(_origin(team)))
        _version(clone, model, number + 1)

    def push(number: int) -> str:
        done = clones[number].run("git", "push", "origin", f"HEAD:refs/heads/b{number}")
        assert done.returncode == 0, done.stderr
        return str(done.stderr)

    with ThreadPoolExecutor(5) as pool:
        said = list(pool.map(push, range(5)))
    assert not [line for text in said for line in text.splitlines() if "warning" in line]
    wanted = {pack for clone in clones for pack in clone.packs()}
    assert {Path(name).name for name in _files(team)} == wanted


def test_a_tip_that_gits_gc_took_away_is_fetched_again(team: Desk, model: Model) -> None:
    _version(team, model, 0)
    team.git("push", "--quiet", "origin", "HEAD")
    team.git("gc", "--quiet", "--prune=now")
    _version(team, model, 1)
    done = team.run("git", "push", "origin", "HEAD")
    assert "warning" not in done.stderr
    assert {Path(name).name for name in _files(team)} == {*team.packs()}


def test_a_push_that_deletes_the_ref_is_warned_about(team: Desk, model: Model) -> None:
    _version(team, model, 0)
    team.git("push", "--quiet", "origin", "HEAD")
    said = team.run("git", "push", "origin", "--delete", REF).stderr
    assert f"deletes {REF}" in said
    assert "git theta push --all origin" in said


@pytest.mark.parametrize("again", ["push all", "news"])
def test_a_ref_that_a_mirror_deleted_is_written_again(team: Desk, model: Model, again: str) -> None:
    _version(team, model, 0)
    team.git("push", "--quiet", "origin", "HEAD")
    team.git("push", "--quiet", "--mirror", "origin")
    assert REF not in team.git("ls-remote", "origin")
    if again == "news":
        _version(team, model, 1)
        team.git("push", "--quiet", "origin", "HEAD")
    else:
        team.git("theta", "push", "--all", "origin")
    assert {Path(name).name for name in _files(team)} == {*team.packs()}


def test_a_server_that_takes_no_such_ref_is_warned_about(team: Desk, model: Model) -> None:
    hook = _origin(team) / "hooks" / "update"
    hook.write_text(
        '#!/bin/sh\ncase "$1" in refs/heads/*) ;; *) echo only heads >&2; exit 1;; esac\n'
    )
    hook.chmod(0o755)
    _version(team, model, 0)
    done = team.run("git", "push", "origin", "HEAD")
    assert done.returncode == 0
    assert f"did not take {REF}" in done.stderr
    assert _objects(team) == {*team.packs()}
    assert "refs/heads/main" in team.git("ls-remote", "origin")


def test_hints_that_a_server_does_not_take_fail_the_push(team: Desk, model: Model) -> None:
    for seed in range(3):
        _version(team, model, seed)
    team.git("theta", "repack", "--dense")
    hook = _origin(team) / "hooks" / "update"
    hook.write_text('#!/bin/sh\ncase "$1" in refs/heads/*) ;; *) exit 1;; esac\n')
    hook.chmod(0o755)
    assert "allow the ref" in team.refused("git", "push", "origin", "HEAD")
    assert team.git("ls-remote", "origin") == ""


def test_a_push_to_a_bare_url_works_as_to_a_remote(team: Desk, model: Model) -> None:
    _version(team, model, 0)
    team.git("push", "--quiet", f"file://{_origin(team)}", "HEAD")
    assert _objects(team) == {*team.packs()} == {Path(name).name for name in _files(team)}


def test_a_push_from_a_subfolder_a_worktree_or_a_bare_clone_works(team: Desk, model: Model) -> None:
    _version(team, model, 0)
    (team.path / "deep").mkdir()
    team.git("remote", "set-url", "origin", "../origin.git")
    team.git("push", "--quiet", "origin", "HEAD", cwd=team.path / "deep")
    assert _objects(team) == {*team.packs()}
    _version(team, model, 1)
    tree = team.path.parent / "tree"
    team.git("worktree", "add", "--quiet", str(tree))
    team.git("push", "--quiet", "origin", "HEAD", cwd=tree)
    assert _objects(team) == {*team.packs()} == {Path(name).name for name in _files(team)}
