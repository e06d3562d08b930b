"""Packs are flushed to the disk where git flushes its own loose objects."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_theta.git.durability import flushes_objects
from git_theta.source import BytesSource
from git_theta.storage.local import LocalStore


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, False),
        ({"core.fsync": "all"}, True),
        ({"core.fsync": "none"}, False),
        ({"core.fsync": "loose-object,reference"}, True),
        ({"core.fsync": "objects"}, True),
        ({"core.fsync": "reference,-loose-object"}, False),
        ({"core.fsync": "committed,-loose-object"}, True),
        ({"core.fsync": "-pack"}, False),
        ({"core.fsync": "added,none"}, True),
        ({"core.fsyncObjectFiles": "true"}, True),
        ({"core.fsyncObjectFiles": "false"}, False),
        ({"core.fsyncObjectFiles": "true", "core.fsync": "none"}, True),
    ],
)
def test_git_says_what_is_flushed(repo, monkeypatch, settings, expected):
    for name, value in settings.items():
        repo.git("config", name, value)
    repo.write("loose", b"object")
    monkeypatch.setenv("GIT_TRACE2_EVENT", "1")
    traced = repo.run("hash-object", "-w", "loose").stderr
    monkeypatch.delenv("GIT_TRACE2_EVENT")
    assert ("fsync/hardware-flush" in traced) is expected
    monkeypatch.chdir(repo.path)
    flushes_objects.cache_clear()
    assert flushes_objects() is expected
    flushes_objects.cache_clear()


@pytest.mark.parametrize("flushes", [False, True])
def test_a_pack_and_its_name_are_flushed_or_neither(tmp_path, monkeypatch, flushes):
    flushed: list[str] = []
    fsync = os.fsync

    def counting(fd: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{fd}"))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", counting)
    with LocalStore(tmp_path, flushes=lambda: flushes) as store:
        pack = _stored(store)
        assert pack.is_file()
        assert len(flushed) == (2 if flushes else 0)
        assert not flushes or flushed[1] == str(pack.parent)


def _stored(store: LocalStore) -> Path:
    from git_theta.digests import digest
    from git_theta.plugins import Plugins
    from git_theta.storage.buffers import store_buffers
    from git_theta.storage.payload import BufferId
    from git_theta.storage.wanted import Wanted

    data = BytesSource(os.urandom(1000))
    buffer = BufferId("U8", digest(data))
    places = store_buffers(store, Plugins(), [Wanted(((buffer, data.size),), data)])
    return store.packs.path(places[buffer].pack)


def test_a_pack_that_a_power_cut_left_short_is_stored_again(tracked, model):
    file = tracked.write("m.safetensors", model())
    tracked.commit("Model")
    for pack in tracked.packs().values():
        pack.chmod(0o644)
        pack.write_bytes(pack.read_bytes()[:100])
    os.utime(file, (0, 0))
    tracked.git("add", "m.safetensors")
    file.unlink()
    tracked.git("checkout", "--", "m.safetensors")
    assert tracked.read("m.safetensors") == model()
    assert tracked.theta("fsck").returncode == 0
