"""git push through a real Git LFS server: what it costs, and what goes wrong on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faulty_proxy import Fault
from fixture_servers import LfsServer

Desk = Any
Model = Callable[..., bytes]

BATCH = r"/objects/batch$"
STORAGE = r"/objects/storage/[0-9a-f]{64}"


@pytest.fixture
def team(tracked: Desk, tmp_path: Path, lfs_server: LfsServer) -> Desk:
    """A repository with a bare remote whose LFS objects a server has."""
    tracked.git("init", "--quiet", "--bare", str(tmp_path / "origin.git"))
    tracked.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    # The server answers 500 where two uploads find that they have to make the folder.
    lfs_server.object(_name(tracked), "x").parent.mkdir(parents=True)
    url = f"{lfs_server.endpoint(_name(tracked))}/info/lfs"
    tracked.git("config", "remote.origin.lfsurl", url)
    tracked.git("config", "lfs.transfer.maxretries", "2")
    tracked.git("config", "lfs.transfer.maxretrydelay", "1")
    return tracked


def _name(team: Desk) -> str:
    return f"org/{team.path.parent.name}"


def _kept(team: Desk, server: LfsServer) -> dict[str, bytes]:
    """What the server has, by name."""
    folder = server.object(_name(team), "x").parent
    return {file.name: file.read_bytes() for file in folder.glob("?" * 64)}


def _local(team: Desk) -> dict[str, bytes]:
    return {pack: file.read_bytes() for pack, file in team.packs().items()}


def _version(team: Desk, model: Model, seed: int) -> None:
    team.write("m.safetensors", model(seed))
    team.commit(f"{seed}")


def _push(team: Desk) -> str:
    done = team.run("git", "push", "origin", "HEAD:refs/heads/main")
    assert done.returncode == 0, done.stderr
    return str(done.stderr)


def _pushed(team: Desk) -> bool:
    return "refs/heads/main" in team.git("ls-remote", "origin")


def test_versions_are_pushed_in_few_requests_and_nothing_twice(
    team: Desk, model: Model, lfs_server: LfsServer
) -> None:
    for seed in range(3):
        _version(team, model, seed)
    assert "Sent 3 packs" in _push(team)
    assert _kept(team, lfs_server) == _local(team)
    uploads = lfs_server.proxy.matching("PUT", STORAGE)
    assert len(uploads) == 3
    assert sum(one.sent for one in uploads) == sum(map(len, _local(team).values()))
    # git-lfs asks what to send; we ask afterwards what is there, and not before: nothing ever was.
    assert lfs_server.proxy.count("POST", BATCH) == 2
    lfs_server.proxy.reset()
    _version(team, model, 3)
    assert "Sent 1 pack" in _push(team)
    assert lfs_server.proxy.count("PUT", STORAGE) == 1
    assert _kept(team, lfs_server) == _local(team)


def test_a_push_without_weights_does_not_talk_to_the_server(
    team: Desk, model: Model, lfs_server: LfsServer
) -> None:
    _version(team, model, 0)
    _push(team)
    lfs_server.proxy.reset()
    team.write("readme.txt", b"text")
    team.commit("Text")
    _push(team)
    assert lfs_server.proxy.count() == 0


@pytest.mark.parametrize(
    "fault",
    [
        Fault(path=BATCH, status=500, times=99),
        Fault(method="PUT", path=STORAGE, status=500, times=99),
        Fault(method="PUT", path=STORAGE, cut_request=100, times=99),
        Fault(path=BATCH, status=403, times=99),
    ],
    ids=["batch 500", "upload 500", "uploads cut", "forbidden"],
)
def test_a_server_that_fails_fails_the_push_which_goes_on_later(
    team: Desk, model: Model, lfs_server: LfsServer, fault: Fault
) -> None:
    for seed in range(2):
        _version(team, model, seed)
    lfs_server.proxy.fault(fault)
    assert "error" in team.refused("git", "push", "origin", "HEAD")
    assert not _pushed(team)
    assert team.git("status", "--porcelain") == ""
    lfs_server.proxy.reset()
    _push(team)
    assert _pushed(team)
    assert _kept(team, lfs_server) == _local(team)


def test_a_server_killed_while_it_takes_packs_gets_the_rest_later(
    team: Desk, model: Model, lfs_server: LfsServer
) -> None:
    for seed in range(4):
        _version(team, model, seed)
    lfs_server.proxy.fault(Fault(method="PUT", path=STORAGE, action=lfs_server.kill))
    assert "error" in team.refused("git", "push", "origin", "HEAD")
    assert not _pushed(team)
    lfs_server.start()
    lfs_server.proxy.reset()
    _push(team)
    assert _kept(team, lfs_server) == _local(team)


def test_a_server_that_asks_for_patience_gets_it(
    team: Desk, model: Model, lfs_server: LfsServer
) -> None:
    _version(team, model, 0)
    lfs_server.proxy.fault(
        Fault(method="PUT", path=STORAGE, status=429, headers={"Retry-After": "1"})
    )
    _push(team)
    assert _kept(team, lfs_server) == _local(team)


def test_a_server_that_says_it_took_what_it_lost_fails_the_push(
    team: Desk, model: Model, lfs_server: LfsServer
) -> None:
    _version(team, model, 0)
    lfs_server.proxy.fault(Fault(method="PUT", path=STORAGE, status=200))
    assert "has not got" in team.refused("git", "push", "origin", "HEAD")
    assert not _pushed(team)


@pytest.fixture
def fork(team: Desk, model: Model, tmp_path: Path) -> Desk:
    """``team``, with a version at its remote and a new remote ``fork`` of the same LFS server."""
    _version(team, model, 0)
    _push(team)
    endpoint = team.git("config", "remote.origin.lfsurl").strip()
    team.git("init", "--quiet", "--bare", str(tmp_path / "fork.git"))
    team.git("remote", "add", "fork", str(tmp_path / "fork.git"))
    team.git("config", "remote.fork.lfsurl", endpoint)
    return team


@pytest.mark.parametrize("how", ["the server refuses it", "the pack is damaged"])
def test_who_cannot_send_pushes_what_the_server_has(
    fork: Desk, lfs_server: LfsServer, how: str
) -> None:
    if how == "the pack is damaged":
        for pack in fork.packs().values():
            data = pack.read_bytes()
            pack.chmod(0o644)
            pack.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    else:
        lfs_server.proxy.fault(Fault(method="POST", path=BATCH, status=403))
    lfs_server.proxy.requests.clear()
    done = fork.run("git", "push", "fork", "HEAD:refs/heads/main")
    assert done.returncode == 0, done.stderr
    assert "Sent" not in done.stderr
    statuses = [seen.status for seen in lfs_server.proxy.matching("POST", BATCH)]
    assert statuses == ([200] if how == "the pack is damaged" else [403, 200])


def test_a_push_tells_what_the_server_had_already(fork: Desk, model: Model) -> None:
    _version(fork, model, 1)
    done = fork.run("git", "push", "fork", "HEAD:refs/heads/main")
    assert done.returncode == 0, done.stderr
    assert "Sent 2 packs (" in done.stderr
    assert ": it had the rest) to lfs://fork" in done.stderr


def test_an_lfsconfig_that_points_to_a_stranger_sends_nothing(
    team: Desk, model: Model, lfs_server: LfsServer
) -> None:
    _version(team, model, 0)
    team.git("config", "--unset", "remote.origin.lfsurl")
    team.git("remote", "set-url", "--push", "origin", str(team.path.parent / "origin.git"))
    team.git("remote", "set-url", "origin", "https://git.example/org/model.git")
    url = f"{lfs_server.endpoint(_name(team))}/info/lfs"
    team.git("config", "-f", ".lfsconfig", "lfs.url", url)
    team.commit("Stranger")
    said = team.refused("git", "push", "origin", "HEAD")
    assert f"git theta remote accept {url}" in said
    assert lfs_server.proxy.count() == 0
    team.git("theta", "remote", "accept", url)
    team.git("push", "--quiet", "origin", "HEAD")
    assert _kept(team, lfs_server) == _local(team)


def test_without_git_lfs_the_error_says_how_to_get_it_or_do_without(
    team: Desk, model: Model, tmp_path: Path
) -> None:
    _version(team, model, 0)
    folder = tmp_path / "bin"
    folder.mkdir()
    programs = {}
    for place in reversed(team.env["PATH"].split(":")):
        if Path(place).is_dir():
            programs |= {file.name: file for file in Path(place).iterdir()}
    for name, file in programs.items():
        if name != "git-lfs":
            (folder / name).symlink_to(file)
    said = team.refused("git", "push", "origin", "HEAD", PATH=str(folder))
    assert "git-lfs" in said
    assert not _pushed(team)
