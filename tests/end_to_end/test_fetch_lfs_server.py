"""Clones from a real Git LFS server: how many requests, and what happens when it fails."""

from __future__ import annotations

from uuid import uuid4

import numpy as np
import pytest
from safetensors.numpy import save

from faulty_proxy import Fault

BATCH = r"/objects/batch$"
STORAGE = r"/objects/storage/"


@pytest.fixture
def clone(tracked, lfs_server, tmp_path):
    """Pushes the repository, weights to the server, and clones it without checking it out."""

    def clone():
        tracked.git(
            "init", "--quiet", "--bare", "--initial-branch=main", str(tmp_path / "bare.git")
        )
        tracked.git("remote", "add", "origin", str(tmp_path / "bare.git"))
        endpoint = lfs_server.endpoint(f"org/{uuid4().hex}") + "/info/lfs"
        tracked.git("config", "remote.origin.lfsurl", endpoint)
        done = tracked.theta("push")
        assert done.returncode == 0, done.stderr
        tracked.git("push", "--quiet", "--no-verify", "origin", "main")
        options = ["-c", f"remote.origin.lfsurl={endpoint}", "-c", "lfs.transfer.maxretries=2"]
        options += ["-c", "lfs.transfer.maxretrydelay=1"]
        url = str(tmp_path / "bare.git")
        tracked.git("clone", "--quiet", "--no-checkout", *options, url, "clone", cwd=tmp_path)
        lfs_server.proxy.reset()
        return tracked.at(tmp_path / "clone")

    return clone


@pytest.fixture
def cloned(tracked, clone, model):
    """Such a clone of three models, each in a pack of its own."""
    for number in range(3):
        tracked.write(f"{number}.pt", model(rows=64 + number))
        tracked.commit("One more")
    return clone()


def exact(desk, model):
    read = [desk.read(f"{number}.pt") for number in range(3)]
    return read == [model(rows=64 + number) for number in range(3)]


def test_files_of_a_checkout_share_one_negotiation(cloned, lfs_server, model):
    cloned.git("checkout", "--quiet", "main")
    assert exact(cloned, model)
    assert cloned.status() == ""
    assert lfs_server.proxy.count("POST", BATCH) == 1
    assert lfs_server.proxy.count("GET", STORAGE) == 3
    total = sum(file.stat().st_size for file in cloned.packs().values())
    assert sum(seen.received for seen in lfs_server.proxy.matching("GET", STORAGE)) == total


def test_requests_grow_with_packs_and_not_with_groups(tracked, clone, lfs_server):
    rng = np.random.default_rng(0)
    groups = {f"group.{n:05}": rng.standard_normal((8, 284), np.float32) for n in range(10_000)}
    tracked.write("m.pt", save(groups))
    tracked.commit("Many groups")
    made = clone()
    assert len(tracked.packs()) == 2
    made.git("checkout", "--quiet", "main")
    assert made.read("m.pt") == tracked.read("m.pt")
    assert len(tracked.read("m.pt")) > 91_000_000
    assert (lfs_server.proxy.count("GET", STORAGE), lfs_server.proxy.count("POST", BATCH)) == (2, 1)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("GET", STORAGE, status=500),
        Fault("POST", BATCH, status=429, headers={"Retry-After": "0"}),
        Fault("GET", STORAGE, cut_answer=1000),
    ],
    ids=["500", "429", "cut"],
)
def test_a_fault_that_passes_is_not_noticed(cloned, lfs_server, model, fault):
    lfs_server.proxy.fault(fault)
    cloned.git("checkout", "--quiet", "main")
    assert exact(cloned, model)


def test_a_server_that_dies_on_the_way_is_gone_on_with_later(cloned, lfs_server, model):
    (cloned.path / "n.txt").write_text("mine")
    dead = Fault("GET", STORAGE, times=99, action=lfs_server.kill)
    lfs_server.proxy.fault(dead)
    said = cloned.refused("git", "checkout", "--quiet", "main")
    assert "Asked for them:" in said
    assert "what arrived is kept" in said
    lfs_server.proxy.reset()
    lfs_server.start()
    cloned.git("reset", "--quiet", "--hard")
    assert exact(cloned, model)
    assert cloned.theta("fsck").returncode == 0


def test_a_byte_that_was_flipped_at_the_server_never_gets_in(cloned, lfs_server, model):
    lfs_server.proxy.fault(Fault("GET", STORAGE, times=99, flip=500))
    said = cloned.refused("git", "checkout", "--quiet", "main")
    assert "could not be fetched" in said
    assert cloned.packs() == {}
    lfs_server.proxy.reset()
    cloned.git("reset", "--quiet", "--hard")
    assert exact(cloned, model)
