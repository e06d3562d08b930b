"""Packs on a real S3 server: the kit, requests and bytes counted, and all that goes wrong."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from faulty_proxy import Fault
from fixture_servers import Server
from git_theta.errors import MissingPackError, MissingPluginError, PackError, StoreError
from git_theta.storage.interface import Store
from git_theta.testing import StoreConformance
from theta_objectstore import types
from theta_objectstore.types import ObjectStoreType

pytest.importorskip("obstore")


@pytest.fixture
def url(s3_server: Server) -> str:
    """The URL of an empty store."""
    return f"s3://packs/{uuid4().hex}"


@pytest.fixture
def store(url: str) -> Store:
    return ObjectStoreType("s3").open(url)


@pytest.fixture
def make_packs(tmp_path: Path) -> Callable[..., dict[str, Path]]:
    """Makes packs of so many bytes."""

    def make(*sizes: int) -> dict[str, Path]:
        made = {}
        for number, nbytes in enumerate(sizes):
            data = (b"%d" % number + os.urandom(8) * (nbytes // 8 + 1))[:nbytes]
            file = tmp_path / hashlib.sha256(data).hexdigest()
            file.write_bytes(data)
            made[file.name] = file
        return made

    return make


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def sizes(packs: dict[str, Path]) -> dict[str, int]:
    return {pack: file.stat().st_size for pack, file in packs.items()}


def get(store: Store, packs: dict[str, Path], target: Path) -> None:
    store.get({pack: target / pack for pack in packs}, sizes(packs))


def arrived(packs: dict[str, Path], target: Path) -> list[str]:
    """The packs that arrived, each of which must be whole, and nothing else."""
    found = sorted(file.name for file in target.iterdir())
    for name in found:
        assert (target / name).read_bytes() == packs[name].read_bytes()
    return found


class TestS3(StoreConformance):
    store_type = ObjectStoreType("s3")
    bad_urls = (
        "s3://",
        "s3:///prefix",
        "s3://key:secret@bucket/x",
        "s3://bucket/x?region=y",
        "s3://b/..",
    )

    @pytest.fixture(autouse=True)
    def _served(self, url: str, s3_server: Server) -> None:
        self.prefix, self.server = url, s3_server

    def url(self, folder: Path) -> str:
        return self.prefix

    def corrupt(self, folder: Path, pack: str) -> None:
        import obstore

        backend = self.store_type._backend(self.prefix)
        data = bytes(obstore.get(backend, pack).bytes())
        obstore.put(backend, pack, bytes([data[0] ^ 1]) + data[1:])


# ---- what it costs -------------------------------------------------------------------------------


def test_requests_grow_with_packs_and_nothing_is_sent_twice(
    s3_server: Server, store: Store, make_packs: Callable[..., dict[str, Path]], target: Path
) -> None:
    packs, proxy = make_packs(*[100_000] * 9), s3_server.proxy
    store.put(packs)
    assert (proxy.count("HEAD"), proxy.count("PUT"), proxy.count()) == (9, 9, 18)
    assert proxy.sent == 900_000
    proxy.reset()
    store.put(packs)
    assert (proxy.count("HEAD"), proxy.count()) == (9, 9)
    proxy.reset()
    get(store, packs, target)
    assert (proxy.count("GET"), proxy.count()) == (9, 9)
    assert proxy.received == 900_000
    assert arrived(packs, target) == sorted(packs)


def test_a_large_pack_is_sent_in_parts(
    s3_server: Server, store: Store, make_packs: Callable[..., dict[str, Path]], target: Path
) -> None:
    packs = make_packs(20 * 2**20)
    told: list[int] = []
    store.put(packs, told.append)
    assert s3_server.proxy.count("PUT", "partNumber=") == 3
    assert sum(told) == 20 * 2**20
    assert len(told) == 3
    get(store, packs, target)
    assert arrived(packs, target) == list(packs)


# ---- what goes wrong -----------------------------------------------------------------------------


def test_a_server_that_stumbles_is_asked_again(
    s3_server: Server, store: Store, make_packs: Callable[..., dict[str, Path]], target: Path
) -> None:
    packs, proxy = make_packs(50_000, 60_000), s3_server.proxy
    proxy.fault(Fault("HEAD", status=503))
    proxy.fault(Fault("PUT", status=500))
    proxy.fault(Fault("PUT", status=429, headers={"Retry-After": "0"}))
    store.put(packs)
    proxy.fault(Fault("GET", status=429))
    proxy.fault(Fault("GET", cut_request=0))
    get(store, packs, target)
    assert arrived(packs, target) == sorted(packs)


def test_a_download_that_breaks_off_goes_on_where_it_was(
    s3_server: Server, store: Store, make_packs: Callable[..., dict[str, Path]], target: Path
) -> None:
    packs, proxy = make_packs(6_000_000), s3_server.proxy
    store.put(packs)
    proxy.reset()
    proxy.fault(Fault("GET", cut_answer=4_000_000))
    get(store, packs, target)
    assert arrived(packs, target) == list(packs)
    assert proxy.received < 8_000_000


def test_an_upload_that_breaks_off_is_sent_again(
    s3_server: Server, store: Store, make_packs: Callable[..., dict[str, Path]]
) -> None:
    packs = make_packs(20 * 2**20)
    s3_server.proxy.fault(Fault("PUT", "partNumber=2", cut_request=1_000_000))
    store.put(packs)
    assert store.missing(sizes(packs)) == set()


def test_other_bytes_are_never_given_out(
    s3_server: Server, store: Store, make_packs: Callable[..., dict[str, Path]], target: Path
) -> None:
    packs = make_packs(100_000, 200_000)
    store.put(packs)
    s3_server.proxy.fault(Fault("GET", flip=50_000))
    with pytest.raises(PackError, match="found SHA-256"):
        get(store, packs, target)
    assert len(arrived(packs, target)) == 1


def test_one_lost_pack_does_not_stop_the_others(
    store: Store, make_packs: Callable[..., dict[str, Path]], target: Path
) -> None:
    packs = make_packs(1000, 2000, 3000)
    store.put(packs)
    lost = hashlib.sha256(b"lost").hexdigest()
    with pytest.raises(MissingPackError, match=rf"s3://packs/\w+ does not have pack {lost}"):
        store.get({pack: target / pack for pack in (lost, *packs)}, {lost: 9, **sizes(packs)})
    assert arrived(packs, target) == sorted(packs)


def test_a_pack_of_another_size_is_sent_again(
    s3_server: Server, store: Store, url: str, make_packs: Callable[..., dict[str, Path]]
) -> None:
    import obstore

    packs = make_packs(1000)
    obstore.put(ObjectStoreType("s3")._backend(url), next(iter(packs)), b"half")
    assert store.missing(sizes(packs)) == set(packs)
    store.put(packs)
    assert store.missing(sizes(packs)) == set()


def test_refused_credentials_are_told(
    s3_server: Server, store: Store, make_packs: Callable[..., dict[str, Path]], target: Path
) -> None:
    packs = make_packs(10)
    s3_server.proxy.fault(Fault(times=99, status=403))
    for call in (
        lambda: store.missing(sizes(packs)),
        lambda: store.put(packs),
        lambda: get(store, packs, target),
    ):
        with pytest.raises(
            StoreError, match=r"refused when(.*\n)+.*credentials in the environment"
        ):
            call()


@pytest.mark.parametrize("nbytes", [1000, 10 * 2**20])
def test_a_bucket_that_is_not_there_is_told(
    s3_server: Server, make_packs: Callable[..., dict[str, Path]], nbytes: int
) -> None:
    packs = make_packs(nbytes)
    store = ObjectStoreType("s3").open("s3://no-such-bucket/x")
    assert store.missing(sizes(packs)) == set(packs)
    with pytest.raises(StoreError, match=r"(?s)There is no s3://no-such-bucket/x.*must exist"):
        store.put(packs)


def test_secrets_are_not_told(s3_server: Server, store: Store) -> None:
    s3_server.proxy.fault(Fault(times=99, status=403))
    with pytest.raises(StoreError) as fault:
        store.missing({"a" * 64: 1})
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in str(fault.value)


def test_what_arrived_before_the_server_died_stays(
    s3_server: Server,
    url: str,
    make_packs: Callable[..., dict[str, Path]],
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(types._RETRY, "max_retries", 1)
    monkeypatch.setattr("theta_objectstore.store.GETS_AT_ONCE", 1)
    store, packs = ObjectStoreType("s3").open(url), make_packs(1000, 2000, 3000)
    store.put(packs)
    s3_server.proxy.fault(Fault("GET"))
    s3_server.proxy.fault(Fault("GET", times=99, cut_answer=500))
    with pytest.raises(StoreError, match="failed when fetched pack"):
        get(store, packs, target)
    before = arrived(packs, target)
    assert before == [next(iter(packs))]
    s3_server.proxy.reset()
    get(store, {pack: file for pack, file in packs.items() if pack not in before}, target)
    assert s3_server.proxy.count("GET") == 2
    assert arrived(packs, target) == sorted(packs)


def test_a_server_killed_in_the_middle_of_a_push_is_an_error(
    s3_server: Server,
    url: str,
    make_packs: Callable[..., dict[str, Path]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(types._RETRY, "max_retries", 1)
    store, packs = ObjectStoreType("s3").open(url), make_packs(1000, 2000, 3000)
    s3_server.proxy.fault(Fault("PUT"))
    s3_server.proxy.fault(Fault("PUT", action=s3_server.kill))
    with pytest.raises(StoreError, match="try again"):
        store.put(packs)


def test_without_obstore_the_error_says_what_to_install(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "theta_objectstore.store", raising=False)
    for name in ("obstore", "obstore.store", "obstore.exceptions"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPluginError, match=r"pip install 'git-theta\[objectstore\]'"):
        ObjectStoreType("s3").open(url)
