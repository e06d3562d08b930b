"""git theta remote: what it sets, shows and accepts."""

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
    """A repository with two git remotes, one of them called with a dot."""
    for name in ("origin", "fork.v2"):
        tracked.git("init", "--quiet", "--bare", str(tmp_path / f"{name}.git"))
        tracked.git("remote", "add", name, str(tmp_path / f"{name}.git"))
    return tracked


def _listed(team: Desk) -> dict[str, Any]:
    done = team.theta("remote", "list", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _suggest(team: Desk, url: str) -> None:
    team.git("config", "-f", ".gittheta", "theta.store", url)
    team.commit("Suggest")


def test_remotes_are_listed_with_their_stores(team: Desk, tmp_path: Path) -> None:
    assert "Packs of fork.v2 lie at" in team.git("theta", "remote", "add", "fork.v2", "../p")
    store = (tmp_path / "p").as_uri()
    assert _listed(team) == {
        "remotes": [
            {"remote": "fork.v2", "store": store, "by": "config"},
            {"remote": "origin", "store": "lfs://origin", "by": "default"},
        ],
        "suggestion": None,
    }
    shown = team.git("theta", "remote").splitlines()
    assert shown == [f"fork.v2  {store}  (config)", "origin   lfs://origin  (default)"]


def test_a_store_is_removed_once(team: Desk) -> None:
    team.git("theta", "remote", "add", "origin", "/mnt/packs")
    assert "lfs://origin" in team.git("theta", "remote", "remove", "origin")
    assert "store of its own" in team.refused("git", "theta", "remote", "remove", "origin")


def test_what_cannot_be_a_store_is_refused_and_changes_nothing(team: Desk) -> None:
    assert "git remote" in team.refused("git", "theta", "remote", "add", "upstream", "/mnt")
    said = team.refused("git", "theta", "remote", "add", "origin", "nonsense://x")
    assert "No installed plugin offers the store 'nonsense'" in said
    assert team.run("git", "config", "--get-regexp", "thetastore").stdout == ""


def test_a_suggestion_is_shown_and_accepted_once(team: Desk, tmp_path: Path, model: Model) -> None:
    (tmp_path / "packs").mkdir()
    url = (tmp_path / "packs").as_uri()
    _suggest(team, url)
    command = f"git theta remote accept {url}"
    for words in (("remote",), ("remote", "accept")):
        assert command in team.git("theta", *words)
    assert _listed(team)["suggestion"] == {"url": url, "accepted": False}
    team.write("m.safetensors", model())
    team.commit("One")
    assert command in team.refused("git", "push", "origin", "HEAD")
    assert team.git("ls-remote", "origin") == ""
    said = team.git("theta", "remote", "accept", url).splitlines()
    assert said[0] == f"Accepted {url}"
    assert f"Packs of origin lie at {url}" in said
    assert _listed(team)["suggestion"] == {"url": url, "accepted": True}
    team.git("push", "--quiet", "origin", "HEAD")
    assert {file.name for file in (tmp_path / "packs").glob("?" * 64)} == {*team.packs()}


def test_who_accepts_changes_no_store_that_was_set(team: Desk, tmp_path: Path) -> None:
    team.git("theta", "remote", "add", "origin", str(tmp_path / "mine"))
    url = (tmp_path / "packs").as_uri()
    _suggest(team, url)
    team.git("theta", "remote", "accept", url)
    stores = {row["remote"]: row["store"] for row in _listed(team)["remotes"]}
    assert stores == {"origin": (tmp_path / "mine").as_uri(), "fork.v2": url}


def test_another_url_than_the_suggested_one_settles_nothing(team: Desk) -> None:
    _suggest(team, "file:///theirs")
    team.git("theta", "remote", "accept", "file:///other")
    assert _listed(team)["remotes"][1] == {"remote": "origin", "store": None, "by": None}


def test_a_suggestion_stands_in_nobodys_way_who_pushes_no_weights(team: Desk) -> None:
    _suggest(team, "s3://stranger/bucket")
    team.git("theta", "install")
    team.git("push", "--quiet", "origin", "HEAD")


def test_a_repository_without_remotes_lists_none(tracked: Desk) -> None:
    assert _listed(tracked) == {"remotes": [], "suggestion": None}
    assert "git remote add" in tracked.theta("remote").stderr
    assert "Expected one remote" in tracked.refused("git", "theta", "push")


@pytest.mark.parametrize(
    "command",
    ["push nowhere", "fetch nowhere", "prune --remote nowhere", "remote add nowhere s3://b/m"],
)
def test_a_remote_that_there_is_not_is_told_alike_everywhere(team: Desk, command: str) -> None:
    done = team.theta(*command.split())
    assert done.returncode == 50
    assert "Expected the name of a git remote, found 'nowhere'" in done.stderr
    assert "There are: fork.v2, origin" in done.stderr


def test_the_list_is_json_for_the_group_as_well(team: Desk) -> None:
    assert json.loads(team.theta("remote", "--json").stdout) == _listed(team)
    assert team.theta("remote", "--json", "remove", "origin").returncode == 2
