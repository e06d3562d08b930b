"""Which store a git remote has: configured, suggested and accepted, or its LFS server."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from git_theta.errors import GitError, MissingPluginError, StoreError
from git_theta.remotes import config
from git_theta.remotes.trust import accept, require_accepted


@pytest.fixture
def repository(repo: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the remotes origin and fork, the current folder."""
    monkeypatch.chdir(repo.path)
    _git("remote", "add", "origin", "https://git.example/team/model.git")
    _git("remote", "add", "fork.v2", "https://git.example/me/model.git")
    return Path(repo.path)


def _git(*args: str) -> str:
    return subprocess.run(["git", *args], check=True, capture_output=True, text=True).stdout


def _suggest(url: str) -> None:
    _git("config", "-f", ".gittheta", "theta.store", url)


def test_a_remote_has_its_lfs_server_unless_told(repository: Path) -> None:
    assert config.choose("origin") == ("origin", "lfs://origin", "default")
    assert config.store_url("https://git.example/x") == "lfs://https://git.example/x"


@pytest.mark.parametrize("remote", ["origin", "fork.v2"])
def test_the_configuration_names_the_store_of_a_remote(repository: Path, remote: str) -> None:
    _git("config", f"remote.{remote}.thetaStore", "file:///srv/packs")
    assert config.choose(remote) == (remote, "file:///srv/packs", "config")
    assert config.configured() == {remote: "file:///srv/packs"}


def test_a_path_is_the_folder_of_packs_there(repository: Path, tmp_path: Path) -> None:
    _git("config", "remote.origin.thetaStore", str(tmp_path / "sp ace"))
    assert config.store_url("origin") == (tmp_path / "sp ace").as_uri()
    _git("config", "remote.origin.thetaStore", "~/packs")
    assert config.store_url("origin") == Path(os.environ["HOME"], "packs").as_uri()


def test_a_relative_path_counts_from_where_it_was_given(repository: Path) -> None:
    assert config.set_store("origin", "../packs") == (repository.parent / "packs").as_uri()
    assert config.store_url("origin") == (repository.parent / "packs").as_uri()
    _git("config", "remote.origin.thetaStore", "../packs")
    with pytest.raises(StoreError, match="absolute path"):
        config.store_url("origin")


def test_a_store_is_set_and_forgotten(repository: Path) -> None:
    config.set_store("fork.v2", "file:///one")
    config.set_store("fork.v2", "file:///two")
    assert config.store_url("fork.v2") == "file:///two"
    assert config.unset_store("fork.v2")
    assert not config.unset_store("fork.v2")
    assert config.store_url("fork.v2") == "lfs://fork.v2"


def test_what_is_no_remote_or_no_store_is_refused(repository: Path) -> None:
    with pytest.raises(GitError, match=r"git remote, found 'upstream'"):
        config.set_store("upstream", "file:///x")
    with pytest.raises(MissingPluginError, match="no-such-scheme"):
        config.set_store("origin", "no-such-scheme://x")
    for location in ("", "file:///x\n", "lfs://--upload-pack=x/y"):
        with pytest.raises(StoreError, match="Expected the"):
            config.set_store("origin", location)
    assert config.configured() == {}


# ---- suggestions of a tracked file ---------------------------------------------------------------


def test_a_suggestion_that_nobody_accepted_settles_nothing(repository: Path) -> None:
    _suggest("s3://stranger/bucket")
    with pytest.raises(StoreError, match=r"s3://stranger/bucket") as refused:
        config.store_url("origin")
    assert "git theta remote accept s3://stranger/bucket" in refused.value.remedy
    assert "git theta remote add origin lfs://origin" in refused.value.remedy


def test_a_suggestion_counts_once_it_was_accepted(repository: Path) -> None:
    _suggest("file:///srv/packs")
    assert accept("file:///srv/packs")
    assert not accept("file:///srv/packs")
    assert config.choose("origin") == ("origin", "file:///srv/packs", "suggestion")
    _suggest("file:///elsewhere")
    with pytest.raises(StoreError, match="elsewhere"):
        config.store_url("origin")


def test_what_the_user_chose_wins_over_a_suggestion(repository: Path) -> None:
    _suggest("s3://stranger/bucket")
    _git("config", "remote.origin.thetaStore", "lfs://origin")
    assert config.store_url("origin") == "lfs://origin"


def test_a_suggestion_is_read_from_index_or_head_where_no_file_is(repository: Path) -> None:
    _suggest("file:///committed")
    _git("add", ".gittheta")
    _git("commit", "-qm", "Suggest")
    Path(".gittheta").unlink()
    assert config.suggestion() == "file:///committed"
    _git("rm", "-q", "--cached", ".gittheta")
    assert config.suggestion() == "file:///committed"
    _git("commit", "-qm", "Suggest nothing")
    assert config.suggestion() == ""


def test_a_tracked_file_cannot_include_or_link_to_another(repository: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    _git("config", "-f", str(other), "theta.store", "file:///included")
    Path(".gittheta").write_text(f"[include]\n\tpath = {other}\n")
    assert config.suggestion() == ""
    Path(".gittheta").unlink()
    Path(".gittheta").symlink_to(other)
    assert config.suggestion() == ""


@pytest.mark.parametrize("content", [b"", b"[theta", b"\0\xff", b"[theta]\n\tother = x\n"])
def test_a_file_that_suggests_nothing_is_no_trouble(repository: Path, content: bytes) -> None:
    Path(".gittheta").write_bytes(content)
    assert config.store_url("origin") == "lfs://origin"


def test_control_characters_of_a_suggestion_never_reach_the_terminal(repository: Path) -> None:
    _suggest("file:///x\x1b[2Jy")
    with pytest.raises(StoreError) as refused:
        config.store_url("origin")
    assert "\x1b" not in str(refused.value)


def test_a_url_is_required_to_be_accepted_as_it_stands(repository: Path) -> None:
    with pytest.raises(StoreError, match="git theta remote accept 'https://h/a b'"):
        require_accepted(".lfsconfig names another host", "https://h/a b")
    accept("https://h/a b")
    require_accepted(".lfsconfig names another host", "https://h/a b")
    with pytest.raises(StoreError):
        require_accepted(".lfsconfig names another host", "https://h/")


# ---- whose record it is --------------------------------------------------------------------------


def test_the_record_of_an_lfs_remote_is_of_where_it_points_to(repository: Path) -> None:
    before = config.identity("origin")
    assert config.identity("origin") == before
    assert config.identity("fork.v2") != before
    _git("remote", "set-url", "origin", "https://git.example/moved.git")
    moved = config.identity("origin")
    assert moved != before
    _git("config", "-f", ".lfsconfig", "lfs.url", "https://lfs.example/")
    assert config.identity("origin") not in (before, moved)
    config.set_store("origin", "file:///packs")
    assert config.identity("origin") == "file:///packs"
