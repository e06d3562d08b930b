"""The hook pre-push: set up wherever the filter runs, beside every other hook, and cheaply."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Desk = Any
Model = Callable[..., bytes]

LINE = 'git theta pre-push "$@"'


@pytest.fixture
def team(tracked: Desk, tmp_path: Path) -> Desk:
    """A repository without a hook yet, with a bare remote whose packs lie in ``packs``."""
    tracked.git("init", "--quiet", "--bare", str(tmp_path / "origin.git"))
    tracked.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    (tmp_path / "packs").mkdir()
    tracked.git("theta", "remote", "add", "origin", str(tmp_path / "packs"))
    hook = _hook(tracked)
    if hook.exists():
        hook.unlink()
    (tracked.store / "hook").unlink(missing_ok=True)
    return tracked


def _hook(desk: Desk, name: str = "pre-push") -> Path:
    return desk.path / ".git" / "hooks" / name


def _there(team: Desk) -> set[str]:
    return {file.name for file in (team.path.parent / "packs").glob("?" * 64)}


def _script(path: Path, body: str, shebang: str = "#!/bin/sh") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{shebang}\n{body}\n")
    path.chmod(0o755)
    return path


def _commit(team: Desk, model: Model, seed: int = 0) -> subprocess.CompletedProcess[str]:
    """Commit a version; what ``git add`` said."""
    team.write("m.safetensors", model(seed))
    added = team.run("git", "add", ".")
    assert added.returncode == 0, added.stderr
    team.git("commit", "--quiet", "--message", f"{seed}")
    return added


def _ours(path: Path) -> bool:
    return LINE in path.read_text() and bool(path.stat().st_mode & 0o100)


# ---- set up --------------------------------------------------------------------------------------


def test_git_push_sends_packs_before_the_refs_move(team: Desk, model: Model) -> None:
    assert _commit(team, model).stderr == ""
    assert _ours(_hook(team))
    done = team.run("git", "push", "origin", "HEAD")
    assert done.returncode == 0, done.stderr
    assert "git-theta: Sent 1 pack" in done.stderr
    assert _there(team) == {*team.packs()}
    again = team.run("git", "push", "origin", "HEAD:other")
    assert "git-theta" not in again.stderr


def test_a_push_that_would_leave_a_pack_out_moves_nothing(team: Desk, model: Model) -> None:
    _commit(team, model)
    (file,) = team.packs().values()
    file.unlink()
    assert file.name in team.refused("git", "push", "origin", "HEAD")
    assert team.git("ls-remote", "origin") == ""


def test_a_cloner_has_the_hook_after_the_first_checkout(team: Desk, model: Model) -> None:
    _commit(team, model)
    clone = team.clone("clone")
    assert _ours(_hook(clone))
    bare = team.at(team.path.parent / "fresh")
    team.git("clone", "--quiet", "--no-checkout", str(team.path), str(bare.path))
    assert not _hook(bare).exists()


@pytest.mark.parametrize("command", [("install", "--local"), ("track", "*.pt")])
def test_install_and_track_set_the_hook_up(team: Desk, command: tuple[str, ...]) -> None:
    assert "git push sends weights" in team.theta(*command).stderr
    assert _ours(_hook(team))
    assert "git push sends weights" not in team.theta(*command).stderr


def test_install_leaves_the_repository_alone_when_asked_to(team: Desk) -> None:
    team.theta("install", "--skip-repo")
    assert not _hook(team).exists()


def test_uninstall_takes_the_hook_away_and_puts_the_old_one_back(team: Desk) -> None:
    old = _script(_hook(team), "exit 0").read_bytes()
    team.git("theta", "install")
    assert _ours(_hook(team))
    team.git("theta", "uninstall")
    assert _hook(team).read_bytes() == old
    assert [file.name for file in _hook(team).parent.glob("pre-push*") if "sample" not in file.name]
    team.git("theta", "install")
    _hook(team, "pre-push.before-theta").unlink()
    team.git("theta", "uninstall")
    assert not _hook(team).exists()


def test_worktrees_share_the_hook_and_submodules_have_their_own(team: Desk, model: Model) -> None:
    _commit(team, model)
    tree = team.at(team.path.parent / "tree")
    team.git("worktree", "add", "--quiet", str(tree.path))
    done = tree.run("git", "push", "origin", "HEAD:refs/heads/tree")
    assert "git-theta: Sent 1 pack" in done.stderr
    add = ("-c", "protocol.file.allow=always", "submodule", "--quiet", "add")
    team.git(*add, str(team.path), "s", GIT_THETA_SKIP_SMUDGE="1")
    assert _ours(team.path / ".git" / "modules" / "s" / "hooks" / "pre-push")


# ---- beside others -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shebang", "body"),
    [
        ("#!/bin/sh", 'cat > "seen.txt"; echo "$1" >> "seen.txt"; exec true'),
        (
            "#!/usr/bin/env python3",
            "import sys\nopen('seen.txt', 'w').write(sys.stdin.read() + sys.argv[1] + '\\n')",
        ),
    ],
)
def test_another_hook_is_kept_and_sees_what_git_says(
    team: Desk, model: Model, shebang: str, body: str
) -> None:
    old = _script(_hook(team), body, shebang).read_bytes()
    _commit(team, model)
    assert _ours(_hook(team))
    assert _hook(team, "pre-push.before-theta").read_bytes() == old
    team.git("push", "--quiet", "origin", "HEAD:refs/heads/main")
    head = team.git("rev-parse", "HEAD").strip()
    assert team.read("seen.txt").decode() == f"HEAD {head} refs/heads/main {'0' * 40}\norigin\n"
    assert _there(team) == {*team.packs()}


def test_another_hook_that_refuses_stops_the_push_before_anything_is_sent(
    team: Desk, model: Model
) -> None:
    _script(_hook(team), "echo no >&2; exit 3")
    _commit(team, model)
    assert "no" in team.refused("git", "push", "origin", "HEAD")
    assert _there(team) == set()


def test_a_linked_hook_is_kept_as_a_link(team: Desk, model: Model) -> None:
    _script(team.path / "tools" / "push.sh", "echo linked >&2")
    before = team.read("tools/push.sh")
    _hook(team).symlink_to("../../tools/push.sh")
    _commit(team, model)
    assert _hook(team, "pre-push.before-theta").is_symlink()
    assert team.read("tools/push.sh") == before
    assert "linked" in team.run("git", "push", "origin", "HEAD").stderr


def test_a_hook_that_runs_us_already_is_left_as_it_is(team: Desk, model: Model) -> None:
    own = _script(_hook(team), LINE).read_bytes()
    assert _commit(team, model).stderr == ""
    assert _hook(team).read_bytes() == own
    team.git("push", "--quiet", "origin", "HEAD")
    assert _there(team) == {*team.packs()}


def test_an_older_hook_of_ours_is_renewed(team: Desk, model: Model) -> None:
    _commit(team, model)
    new = _hook(team).read_text()
    _script(_hook(team), new.partition("\n")[2].replace("exit 2", "exit 3"))
    _commit(team, model, 1)
    assert _hook(team).read_text() == new


def test_who_replaces_our_hook_gets_it_beside_theirs_at_the_next_add(
    team: Desk, model: Model
) -> None:
    _commit(team, model)
    _script(_hook(team), "echo theirs >&2")
    _commit(team, model, 1)
    assert _ours(_hook(team))
    assert "theirs" in team.run("git", "push", "origin", "HEAD").stderr
    assert _there(team) == {*team.packs()}


def test_two_hooks_to_keep_are_one_too_many_and_a_warning(team: Desk, model: Model) -> None:
    _script(_hook(team), "echo first >&2")
    _commit(team, model)
    third = _script(_hook(team), "echo third >&2").read_bytes()
    assert "so is pre-push.before-theta" in _commit(team, model, 1).stderr
    assert _hook(team).read_bytes() == third


# ---- hook managers -------------------------------------------------------------------------------


def test_pre_commit_runs_ours_as_the_hook_that_it_found(team: Desk, model: Model) -> None:
    theirs = _script(
        _hook(team),
        "# File generated by pre-commit: https://pre-commit.com\n"
        'if [ -x "$0.legacy" ]; then exec "$0.legacy" "$@"; fi',
    ).read_bytes()
    assert _commit(team, model).stderr == ""
    assert _hook(team).read_bytes() == theirs
    assert _ours(_hook(team, "pre-push.legacy"))
    team.git("push", "--quiet", "origin", "HEAD")
    assert _there(team) == {*team.packs()}
    team.git("theta", "uninstall")
    assert not _hook(team, "pre-push.legacy").exists()


@pytest.mark.parametrize(
    ("manager", "file", "line"),
    [
        ("lefthook", "lefthook.yml", "git theta pre-push {0}"),
        ("husky", "package.json", LINE),
        ("overcommit", ".overcommit.yml", LINE),
    ],
)
def test_a_hook_that_a_manager_writes_is_left_to_it_with_a_warning(
    team: Desk, model: Model, manager: str, file: str, line: str
) -> None:
    theirs = _script(_hook(team), f'{manager} run pre-push "$@"').read_bytes()
    said = _commit(team, model).stderr
    assert f"written by {manager}" in said
    assert line in said
    assert "git theta push" in said
    assert _commit(team, model, 1).stderr == ""
    assert _hook(team).read_bytes() == theirs
    assert f"written by {manager}" in team.theta("doctor").stdout
    (team.path / file).write_text(f"pre-push:\n  run: {line}\n")
    assert f"written by {manager}" not in team.theta("doctor").stdout


def test_a_folder_of_hooks_that_others_share_is_left_alone_with_a_warning(
    team: Desk, model: Model, tmp_path: Path
) -> None:
    team.git("config", "--global", "core.hooksPath", str(tmp_path / "shared"))
    said = _commit(team, model).stderr
    assert "core.hooksPath" in said
    assert f"{tmp_path / 'shared' / 'pre-push'}" in said
    assert not (tmp_path / "shared").exists()
    assert _commit(team, model, 1).stderr == ""


def test_husky_is_told_which_file_to_add_the_line_to(team: Desk, model: Model) -> None:
    _script(team.path / ".husky" / "_" / "pre-push", '. "${0%/*}/h"')
    _script(team.path / ".husky" / "_" / "h", 'sh -e "$(dirname "$0")/../pre-push" "$@"')
    (team.path / ".husky" / "_" / ".gitignore").write_text("*\n")
    team.git("config", "core.hooksPath", ".husky/_")
    assert f"{team.path / '.husky' / 'pre-push'}" in _commit(team, model).stderr
    (team.path / ".husky" / "pre-push").write_text(f"{LINE}\n")
    team.git("config", "core.hooksPath", ".husky/_/")
    assert _commit(team, model, 1).stderr == ""
    team.git("push", "--quiet", "origin", "HEAD")
    assert _there(team) == {*team.packs()}


def test_the_hook_comes_once_the_folder_is_the_repositorys_again(
    team: Desk, model: Model, tmp_path: Path
) -> None:
    team.git("config", "--global", "core.hooksPath", str(tmp_path / "shared"))
    _commit(team, model)
    team.git("config", "--global", "--unset", "core.hooksPath")
    assert _commit(team, model, 1).stderr == ""
    assert _ours(_hook(team))


def test_who_wants_no_hook_has_none_and_no_warning(team: Desk, model: Model) -> None:
    team.git("config", "theta.hook", "false")
    assert _commit(team, model).stderr == ""
    assert not _hook(team).exists()
    assert team.git("push", "--quiet", "origin", "HEAD") == ""
    assert _there(team) == set()
    assert "Sent 1 pack" in team.git("theta", "push")


def test_doctor_tells_how_the_hook_stands_and_changes_nothing(team: Desk, tmp_path: Path) -> None:
    def told() -> str:
        lines = team.theta("doctor").stdout.splitlines()
        return next(" ".join(line.split()[:2]) for line in lines if " hook " in line)

    assert told() == "problem hook"
    assert not _hook(team).exists()
    team.git("theta", "install")
    assert told() == "ok hook"
    team.git("config", "theta.hook", "false")
    assert told() == "note hook"
    team.git("config", "theta.hook", "true")
    team.git("config", "core.hooksPath", str(tmp_path / "shared"))
    assert told() == "problem hook"


# ---- Git LFS -------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")
@pytest.mark.parametrize("first", ["lfs", "theta"])
def test_files_of_git_lfs_are_pushed_whoever_set_up_a_hook_first(
    team: Desk, model: Model, first: str
) -> None:
    if first == "theta":
        _commit(team, model)
    team.git("lfs", "install", "--skip-repo")
    team.git("lfs", "track", "*.dat")
    team.write("x.dat", b"large file")
    _commit(team, model, 1)
    if first == "lfs":
        assert "git lfs pre-push" in _hook(team, "pre-push.before-theta").read_text()
    team.git("push", "--quiet", "origin", "HEAD")
    objects = team.path.parent / "origin.git" / "lfs" / "objects"
    assert [file.read_bytes() for file in objects.rglob("*") if file.is_file()] == [b"large file"]
    assert _there(team) == {*team.packs()}


# ---- cost ----------------------------------------------------------------------------------------


def test_the_filter_asks_git_nothing_more_once_the_hook_is_there(
    team: Desk, model: Model, tmp_path: Path
) -> None:
    _commit(team, model)
    trace = tmp_path / "trace"
    team.write("m.safetensors", model(1))
    team.git("add", ".", GIT_TRACE=str(trace))
    assert "hooks/pre-push" not in trace.read_text()
    assert "theta.hook" not in trace.read_text()
