"""Packs on a real Git LFS server: the kit, requests and bytes counted, and all that goes wrong."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from faulty_proxy import Fault
from fixture_servers import LfsServer
from git_theta.errors import MissingPackError, PackError, StoreError
from git_theta.storage.interface import Store
from git_theta.storage.lfs import LfsStoreType
from git_theta.testing import StoreConformance

BATCH = r"/objects/batch$"
STORAGE = r"/objects/storage/[0-9a-f]{64}"


def git(*args: str) -> str:
    done = subprocess.run(["git", *args], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def remote(lfs_server: LfsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a repository on the server, the remote ``origin`` of the current folder."""
    name = f"org/{uuid4().hex}"
    git("init", "--quiet", str(tmp_path / "here"))
    monkeypatch.chdir(tmp_path / "here")
    git("remote", "add", "origin", lfs_server.endpoint(name))
    git("config", "lfs.transfer.maxretries", "2")
    git("config", "lfs.transfer.maxretrydelay", "1")
    monkeypatch.setattr("git_theta.storage.lfs.store._PAUSES", (0.0, 0.0))
    return name


@pytest.fixture
def store(remote: str) -> Store:
    return LfsStoreType().open("lfs://origin")


class Packs(dict[str, Path]):
    """Files by the names of packs."""

    @property
    def sizes(self) -> dict[str, int]:
        return {pack: file.stat().st_size for pack, file in self.items()}


@pytest.fixture
def make_packs(tmp_path: Path) -> Callable[..., Packs]:
    """Makes packs of so many bytes, immutable as the local store's are."""

    def make(*sizes: int) -> Packs:
        made = Packs()
        for number, nbytes in enumerate(sizes):
            data = (b"%d" % number + os.urandom(8) * (nbytes // 8 + 1))[:nbytes]
            file = tmp_path / hashlib.sha256(data).hexdigest()
            file.write_bytes(data)
            file.chmod(0o444)
            made[file.name] = file
        return made

    return make


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def get(store: Store, packs: Packs, target: Path) -> None:
    store.get({pack: target / pack for pack in packs}, packs.sizes)


def arrived(packs: Mapping[str, Path], target: Path) -> list[str]:
    """The packs that arrived, each of which must be whole, and nothing else."""
    found = sorted(file.name for file in target.iterdir())
    for name in found:
        assert (target / name).read_bytes() == packs[name].read_bytes()
    return found


class TestLfsServer(StoreConformance):
    store_type = LfsStoreType()

    @pytest.fixture(autouse=True)
    def _served(self, lfs_server: LfsServer, remote: str) -> None:
        self.server, self.name = lfs_server, remote

    def url(self, folder: Path) -> str:
        return "lfs://origin"

    def corrupt(self, folder: Path, pack: str) -> None:
        file = self.server.object(self.name, pack)
        data = file.read_bytes()
        file.write_bytes(bytes([data[0] ^ 1]) + data[1:])


# ---- what it costs -------------------------------------------------------------------------------


def test_requests_grow_with_packs_and_nothing_is_sent_twice(
    lfs_server: LfsServer, store: Store, make_packs: Callable[..., Packs], target: Path
) -> None:
    packs, proxy = make_packs(*[100_000] * 9), lfs_server.proxy
    store.put(packs)
    assert proxy.count("PUT", STORAGE) == 9
    assert proxy.count("POST", BATCH) == 1, "git-lfs and the server agree on what to send"
    assert sum(seen.sent for seen in proxy.matching("PUT")) == 900_000
    proxy.reset()
    store.put(packs)
    assert (proxy.count("POST", BATCH), proxy.count()) == (1, 1)
    proxy.reset()
    assert store.missing(packs.sizes) == set()
    assert (proxy.count("POST", BATCH), proxy.count()) == (1, 1), "asking downloads nothing"
    proxy.reset()
    get(store, packs, target)
    assert (proxy.count("GET"), proxy.count("POST", BATCH), proxy.count()) == (9, 1, 10)
    assert sum(seen.received for seen in proxy.matching("GET")) == 900_000
    assert arrived(packs, target) == sorted(packs)


def test_a_hundred_packs_are_asked_for_in_one_request(
    lfs_server: LfsServer, store: Store, make_packs: Callable[..., Packs]
) -> None:
    packs = make_packs(*range(10, 110))
    assert store.missing(packs.sizes) == set(packs)
    assert lfs_server.proxy.count() == 1


def test_nothing_is_left_in_the_repository(
    store: Store, make_packs: Callable[..., Packs], target: Path
) -> None:
    packs = make_packs(1000, 2000)
    store.put(packs)
    get(store, packs, target)
    store.missing(packs.sizes)
    left = [path for path in Path(".git").rglob("*") if path.is_file()]
    names = {path.name for path in left}
    assert not names & packs.keys()
    assert not [path for path in left if path.parts[1] in ("objects", "theta", "lfs")]


def test_sending_copies_nothing(
    store: Store, make_packs: Callable[..., Packs], monkeypatch: pytest.MonkeyPatch
) -> None:
    links: list[int] = []
    packs = make_packs(10**6)
    (file,) = packs.values()
    store.put(packs, lambda _: links.append(file.stat().st_nlink))
    assert links[0] == 2
    assert file.stat().st_nlink == 1


def test_progress_is_told_while_it_happens(
    store: Store, make_packs: Callable[..., Packs], target: Path
) -> None:
    packs = make_packs(300_000, 500_000)
    told: list[int] = []
    store.put(packs, told.append)
    assert sum(told) == 800_000
    assert len(told) > 2
    told.clear()
    store.get({pack: target / pack for pack in packs}, packs.sizes, told.append)
    assert sum(told) == 800_000
    assert len(told) > 2


# ---- what goes wrong on the server ---------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"status": 503},
        {"status": 429},
        {"status": 429, "headers": {"Retry-After": "1"}},
        {"cut_request": 0},
    ],
    ids=str,
)
def test_a_server_that_stumbles_is_asked_again(
    lfs_server: LfsServer,
    store: Store,
    make_packs: Callable[..., Packs],
    target: Path,
    fault: dict[str, Any],
) -> None:
    packs, proxy = make_packs(50_000, 60_000), lfs_server.proxy
    for where in (("POST", BATCH), ("PUT", STORAGE)):
        proxy.fault(Fault(*where, **fault))
    store.put(packs)
    assert store.missing(packs.sizes) == set()
    for where in (("POST", BATCH), ("GET", STORAGE)):
        proxy.fault(Fault(*where, **fault))
    get(store, packs, target)
    assert arrived(packs, target) == sorted(packs)


def test_a_server_that_stays_down_is_an_error_that_names_it(
    lfs_server: LfsServer, store: Store, make_packs: Callable[..., Packs], target: Path
) -> None:
    packs = make_packs(50_000)
    lfs_server.proxy.fault(Fault("POST", BATCH, times=99, status=503))
    for call in (
        lambda: store.put(packs),
        lambda: store.missing(packs.sizes),
        lambda: get(store, packs, target),
    ):
        with pytest.raises(StoreError, match=r"LFS server of origin \(http"):
            call()
    assert arrived(packs, target) == []


@pytest.mark.parametrize("unframed", [False, True])
def test_a_cut_connection_is_made_again(
    lfs_server: LfsServer,
    store: Store,
    make_packs: Callable[..., Packs],
    target: Path,
    unframed: bool,
) -> None:
    packs, proxy = make_packs(500_000), lfs_server.proxy
    proxy.fault(Fault("PUT", cut_request=200_000))
    store.put(packs)
    assert store.missing(packs.sizes) == set()
    proxy.reset()
    proxy.fault(Fault("GET", cut_answer=200_000, unframed=unframed))
    get(store, packs, target)
    assert arrived(packs, target) == list(packs)


def test_what_arrived_before_the_server_was_killed_stays(
    lfs_server: LfsServer, store: Store, make_packs: Callable[..., Packs], target: Path
) -> None:
    git("config", "lfs.concurrenttransfers", "1")
    packs = make_packs(100_000, 200_000, 300_000)
    store.put(packs)
    lfs_server.proxy.fault(Fault("GET", STORAGE, times=1))
    lfs_server.proxy.fault(Fault("GET", STORAGE, times=1, action=lfs_server.kill))
    with pytest.raises(StoreError):
        get(store, packs, target)
    before = arrived(packs, target)
    assert len(before) == 1
    lfs_server.start()
    lfs_server.proxy.reset()
    left = Packs({pack: file for pack, file in packs.items() if pack not in before})
    get(store, left, target)
    assert lfs_server.proxy.count("GET") == 2
    assert arrived(packs, target) == sorted(packs)


def test_a_server_killed_in_the_middle_of_a_push_gets_the_rest_later(
    lfs_server: LfsServer, store: Store, make_packs: Callable[..., Packs], target: Path
) -> None:
    git("config", "lfs.concurrenttransfers", "1")
    packs = make_packs(100_000, 200_000, 300_000)
    lfs_server.proxy.fault(Fault("PUT"))
    lfs_server.proxy.fault(Fault("PUT", action=lfs_server.kill))
    with pytest.raises(StoreError, match="Cannot send 3 packs"):
        store.put(packs)
    lfs_server.start()
    lfs_server.proxy.reset()
    assert len(store.missing(packs.sizes)) == 2
    store.put(packs)
    assert lfs_server.proxy.count("PUT") == 2
    get(store, packs, target)
    assert arrived(packs, target) == sorted(packs)


def test_half_a_pack_is_gone_on_with(
    lfs_server: LfsServer, store: Store, make_packs: Callable[..., Packs], target: Path
) -> None:
    git("config", "lfs.transfer.maxretries", "1")
    packs = make_packs(5_000_000)
    store.put(packs)
    lfs_server.proxy.fault(Fault("GET", times=99, cut_answer=2_000_000))
    with pytest.raises(StoreError):
        get(store, packs, target)
    assert arrived(packs, target) == []
    lfs_server.proxy.reset()
    get(store, packs, target)
    assert arrived(packs, target) == list(packs)


def test_other_bytes_are_never_given_out(
    lfs_server: LfsServer, store: Store, make_packs: Callable[..., Packs], target: Path
) -> None:
    packs = make_packs(100_000, 200_000)
    store.put(packs)
    lfs_server.proxy.fault(Fault("GET", times=99, flip=50_000))
    with pytest.raises(PackError, match=r"other bytes\n.*git theta push"):
        get(store, packs, target)
    assert arrived(packs, target) == []


def test_a_server_that_loses_what_it_took_is_found_out(
    lfs_server: LfsServer, remote: str, store: Store, make_packs: Callable[..., Packs]
) -> None:
    packs = make_packs(1000, 2000)
    lost = list(packs)[1]
    calls: list[int] = []

    def lose() -> None:
        if lfs_server.object(remote, lost).exists():
            lfs_server.object(remote, lost).unlink()
            calls.append(1)

    lfs_server.proxy.fault(Fault("POST", BATCH, times=99, action=lose))
    store.put(packs)
    assert store.lost(packs.sizes) == {lost}
    assert calls == [1]
    assert store.missing(packs.sizes) == {lost}


def test_what_the_server_has_with_another_size_is_sent_again(
    lfs_server: LfsServer, remote: str, store: Store, make_packs: Callable[..., Packs]
) -> None:
    packs = make_packs(1000, 2000)
    store.put(packs)
    half = lfs_server.object(remote, next(iter(packs)))
    half.write_bytes(b"half")
    assert store.missing(packs.sizes) == {half.name}
    store.put(packs)
    assert half.stat().st_size == 1000


def test_packs_that_nobody_has_are_named(store: Store, target: Path) -> None:
    lost = hashlib.sha256(b"lost").hexdigest()
    with pytest.raises(MissingPackError, match=rf"does not have pack {lost}"):
        store.get({lost: target / lost}, {lost: 1000})


def test_what_has_arrived_stays_when_the_process_is_killed(
    lfs_server: LfsServer, store: Store, make_packs: Callable[..., Packs], target: Path
) -> None:
    git("config", "lfs.concurrenttransfers", "1")
    packs = make_packs(100_000, 200_000)
    store.put(packs)
    code = (
        "import json, sys, pathlib; from git_theta.storage.lfs import LfsStoreType;"
        "sizes = json.loads(sys.argv[1]); folder = pathlib.Path(sys.argv[2]);"
        "store = LfsStoreType().open('lfs://origin');"
        "store.get({pack: folder / pack for pack in sizes}, sizes)"
    )
    command = [sys.executable, "-c", code, json.dumps(packs.sizes), str(target)]
    stalled = threading.Event()
    lfs_server.proxy.fault(Fault("GET"))
    lfs_server.proxy.fault(Fault("GET", action=stalled.wait))
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not any(target.glob("?" * 64)):
        assert process.poll() is None
    process.kill()
    process.wait()
    stalled.set()
    (whole,) = target.glob("?" * 64)
    assert whole.read_bytes() == packs[whole.name].read_bytes()


# ---- what goes wrong here ------------------------------------------------------------------------


def test_without_git_lfs_the_error_says_how_to_get_it(
    store: Store, make_packs: Callable[..., Packs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").symlink_to(git("--exec-path") + "/git")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(StoreError, match="Install Git LFS"):
        store.missing(make_packs(10).sizes)


def test_nobody_at_the_other_end_is_told(
    remote: str, make_packs: Callable[..., Packs], lfs_server: LfsServer
) -> None:
    lfs_server.proxy.fault(Fault(times=99, status=401))
    packs = make_packs(10)
    store = LfsStoreType().open("lfs://origin")
    with pytest.raises(StoreError, match="Log in"):
        store.missing(packs.sizes)
    git("remote", "set-url", "origin", "http://127.0.0.1:1/x.git")
    store = LfsStoreType().open("lfs://origin")
    with pytest.raises(StoreError, match=r"(?s)refused.*Check the network"):
        store.put(packs)


def test_settings_that_make_git_lfs_skip_files_do_not_matter(
    store: Store, make_packs: Callable[..., Packs], target: Path
) -> None:
    git("config", "lfs.fetchinclude", "nothing")
    git("config", "lfs.fetchexclude", "*")
    git("config", "lfs.allowincompletepush", "true")
    git("config", "lfs.skipdownloaderrors", "true")
    packs = make_packs(1000, 2000)
    store.put(packs)
    assert store.missing(packs.sizes) == set()
    get(store, packs, target)
    assert arrived(packs, target) == sorted(packs)


def test_git_lfs_prune_in_between_loses_nothing(
    store: Store, make_packs: Callable[..., Packs], target: Path
) -> None:
    git("commit", "--quiet", "--allow-empty", "--message", "A commit")
    packs = make_packs(1000, 2000)
    store.put(packs)
    git("lfs", "prune")
    get(store, packs, target)
    git("lfs", "prune")
    assert arrived(packs, target) == sorted(packs)


def test_a_clone_with_a_reference_asks_the_server_all_the_same(
    store: Store,
    make_packs: Callable[..., Packs],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lfs_server: LfsServer,
) -> None:
    packs = make_packs(1000, 2000)
    for pack, file in packs.items():
        known = Path(".git/lfs/objects", pack[:2], pack[2:4], pack)
        known.parent.mkdir(parents=True)
        known.write_bytes(file.read_bytes())
    assert store.missing(packs.sizes) == set(packs)
    git("clone", "--quiet", "--shared", ".", str(tmp_path / "clone"))
    url = git("remote", "get-url", "origin")
    monkeypatch.chdir(tmp_path / "clone")
    git("remote", "set-url", "origin", url)
    store = LfsStoreType().open("lfs://origin")
    assert store.missing(packs.sizes) == set(packs)
    store.put(packs)
    assert lfs_server.proxy.count("PUT") == 2
