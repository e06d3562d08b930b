"""A history of a model goes to a remote and to a colleague: every version, every way to rewrite it.

The colleague has a home of their own, in which only ``git theta install`` was run.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from safetensors.numpy import save

from fixture_servers import LfsServer, Server

Desk = Any
Model = Callable[..., bytes]
NAME = "m.safetensors"
SETTINGS = ("remote.origin.lfsurl", "remote.origin.thetaStore")


def nine_versions() -> list[bytes]:
    """What people do to a model: a layer, a LoRA, biases, all of it, rows, a revert, an average."""
    random = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32)

    base = {f"layer.{number}.weight": normal(96, 128) for number in range(4)}
    base |= {f"layer.{number}.bias": normal(128) for number in range(4)}
    one = base | {"layer.1.weight": normal(96, 128)}
    lora = one | {"layer.2.weight": one["layer.2.weight"] + 0.01 * normal(96, 2) @ normal(2, 128)}
    biases = lora | {f"layer.{number}.bias": normal(128) for number in range(4)}
    sparse = {name: np.where(random.random(x.shape) < 0.01, 0, x) for name, x in biases.items()}
    full = {name: x + np.float32(1e-3) * normal(*x.shape) for name, x in sparse.items()}
    rows = full | {"layer.3.weight": np.vstack([full["layer.3.weight"], normal(4, 128)])}
    average = {name: (full[name] + one[name]) / np.float32(2) for name in full}
    versions = [base, one, lora, biases, sparse, full, rows, one, average]
    return [save({n: np.ascontiguousarray(x, np.float32) for n, x in v.items()}) for v in versions]


@pytest.fixture(params=["path", "lfs", "s3"])
def team(
    request: pytest.FixtureRequest,
    tracked: Desk,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Desk:
    """A repository with a bare remote, and a store of the kind that is asked for."""
    tracked.git("init", "--quiet", "--bare", str(tmp_path / "origin.git"))
    tracked.git("remote", "add", "origin", (tmp_path / "origin.git").as_uri())
    if request.param == "lfs":
        server: LfsServer = request.getfixturevalue("lfs_server")
        name = f"team/{uuid4().hex}"
        server.object(name, "x").parent.mkdir(parents=True)
        tracked.git("config", "remote.origin.lfsurl", f"{server.endpoint(name)}/info/lfs")
    if request.param == "s3":
        pytest.importorskip("obstore")
        _: Server = request.getfixturevalue("s3_server")
        tracked.env |= {n: value for n, value in os.environ.items() if n.startswith("AWS_")}
        tracked.git("theta", "remote", "add", "origin", f"s3://packs/{uuid4().hex}")
    return tracked


def colleague(team: Desk, tmp_path: Path, *options: str) -> Desk:
    """A clone in the hands of somebody else, whose settings name the remote's store alone."""
    home = tmp_path / f"home-{uuid4().hex}"
    home.mkdir()
    target = tmp_path / f"clone-{uuid4().hex}"
    other = team.at(tmp_path)
    other.home, other.env = (
        home,
        team.env
        | {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "GIT_COMMITTER_NAME": "Bea",
        },
    )
    other.git("theta", "install", "--global")
    settings = []
    for key in SETTINGS:
        value = team.run("git", "config", key).stdout.strip()
        settings += ["--config", f"{key}={value}"] if value else []
    url = team.git("remote", "get-url", "origin").strip()
    other.git("clone", "--quiet", *settings, *options, url, str(target))
    return other.at(target)


def test_nine_versions_arrive_where_no_plugin_of_a_framework_is(
    team: Desk,
    tmp_path: Path,
    weights: Callable[[str], Path],
    kernel_programs: Callable[..., Path],
) -> None:
    versions = nine_versions()
    silero = [weights(f"silero-vad=={version}") for version in ("5.1.2", "6.0.0")]
    scripts = [(folder / "silero_vad/data/silero_vad.jit").read_bytes() for folder in silero]
    for number, version in enumerate(versions):
        team.write(NAME, version)
        team.write("torchscript.pt", scripts[number % 2])
        team.commit(f"v{number}")
        team.git("tag", f"v{number}")
    assert team.git("theta", "ls-files").count(" torchscript ") == 1
    team.git("push", "--quiet", "origin", "HEAD:refs/heads/main", "--tags")
    shutil.move(team.store / "objects", tmp_path / "out-of-reach")
    url = team.run("git", "config", "remote.origin.thetaStore").stdout
    programs = kernel_programs(*(["theta_objectstore"] if url.startswith("s3:") else []))
    team.env["PATH"] = f"{programs}{os.pathsep}{team.env['PATH']}"
    other = colleague(team, tmp_path, "--branch", "main")
    assert "theta-pytorch" not in other.git("theta", "plugins")
    assert other.read(NAME) == versions[-1]
    assert other.status() == ""
    for number in (0, 5, 2, 7, 1, 8, 3, 6, 4):
        other.git("checkout", "--quiet", f"v{number}")
        assert other.read(NAME) == versions[number]
        assert other.read("torchscript.pt") == scripts[number % 2]
        assert other.status() == ""
    assert other.theta("fsck").returncode == 0


def test_history_that_was_rewritten_is_checked_out_from_fresh_clones(
    team: Desk, model: Model, tmp_path: Path
) -> None:
    def version(seed: int) -> None:
        team.write(NAME, model(seed))
        team.write("notes.txt", f"{seed}\n".encode())
        team.commit(f"{seed}")

    version(0)
    first = team.git("rev-parse", "HEAD").strip()
    for seed in (1, 2, 3):
        version(seed)
    tip = team.git("rev-parse", "HEAD").strip()
    expected: dict[str, bytes] = {}

    team.git("checkout", "--quiet", "-b", "rebased", first)
    team.write("other.txt", b"here first\n")
    team.commit("Other")
    team.git("rebase", "--quiet", "--onto", "rebased", first, tip)
    team.git("branch", "--force", "rebased")
    expected["rebased"] = model(3)

    team.git("checkout", "--quiet", "-b", "squashed", first)
    team.git("merge", "--quiet", "--squash", tip)
    team.git("commit", "--quiet", "--message", "All at once")
    expected["squashed"] = model(3)

    team.git("checkout", "--quiet", "-b", "picked", first)
    team.git("cherry-pick", "--strategy-option=theirs", f"{tip}~1")
    expected["picked"] = team.read(NAME)

    team.git("checkout", "--quiet", "-b", "filtered", tip)
    team.git(
        *("filter-branch", "--force", "--index-filter"),
        *("git rm --quiet --cached --ignore-unmatch notes.txt", "--", "filtered"),
        FILTER_BRANCH_SQUELCH_WARNING="1",
    )
    expected["filtered"] = model(3)

    team.git("checkout", "--quiet", "-b", "octopus", first)
    team.git("merge", "--quiet", "--no-edit", "-s", "ours", "squashed", "filtered")
    expected["octopus"] = model(0)

    team.git("push", "--quiet", "origin", *expected)
    for branch, content in expected.items():
        for options in ((), ("--depth", "1"), ("--filter=blob:none",)):
            other = colleague(team, tmp_path, "--branch", branch, *options)
            assert other.read(NAME) == content, (branch, options)
            assert other.status() == ""


def test_a_colleague_pushes_on_what_was_cloned(team: Desk, model: Model, tmp_path: Path) -> None:
    team.write(NAME, model(0))
    team.commit("0")
    team.git("push", "--quiet", "origin", "HEAD:refs/heads/main")
    other = colleague(team, tmp_path, "--branch", "main", "--depth", "1")
    before = set(other.packs())
    other.write(NAME, model(4))
    other.commit("4")
    done = other.run("git", "push", "origin", "main")
    assert done.returncode == 0, done.stderr
    assert "Sent 1 pack" in done.stderr
    assert len(set(other.packs()) - before) == 1
    team.git("pull", "--quiet", "origin", "main")
    assert team.read(NAME) == model(4)
