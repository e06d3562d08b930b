"""The local store finds buffers in its packs, whatever became of its index."""

from __future__ import annotations

import io
import sqlite3
from pathlib import Path
from typing import NamedTuple

import pytest
from blake3 import blake3

from git_theta.errors import MissingPackError, MissingPluginError, PackError, StoreError
from git_theta.plugins import Plugins
from git_theta.source import BytesSource
from git_theta.storage import local as local_module
from git_theta.storage.buffers import store_buffers
from git_theta.storage.decode import Reader
from git_theta.storage.folder import PackFolder
from git_theta.storage.index import Location
from git_theta.storage.local import LocalStore
from git_theta.storage.pack import PackWriter
from git_theta.storage.payload import BufferId
from git_theta.storage.verify import verify_packs
from git_theta.storage.wanted import Wanted

PLUGINS = Plugins()


class Item(NamedTuple):
    """A buffer to keep in a store."""

    identity: BufferId
    data: bytes


def item_of(data: bytes, dtype: str = "U8") -> Item:
    return Item(BufferId(dtype, blake3(data).digest()), data)


SHORT, LONG = item_of(b"short"), item_of(bytes(range(256)) * 400, "F32")


def put(store: LocalStore, *items: Item) -> dict[BufferId, Location]:
    wanted = [Wanted(((i.identity, len(i.data)),), BytesSource(i.data)) for i in items]
    return store_buffers(store, PLUGINS, wanted)


def read(store: LocalStore, item: Item) -> bytes:
    source = Reader(store, PLUGINS).open(item.identity)
    return bytes(source.read(0, source.size))


def fill(folder: Path) -> str:
    """A store of two buffers; the name of its pack."""
    with LocalStore(folder) as store:
        located = put(store, SHORT, LONG)
        (pack,) = {location.pack for location in located.values()}
        assert store.find([SHORT.identity, LONG.identity]) == {
            identity: [location] for identity, location in located.items()
        }
    return pack


def check(folder: Path) -> None:
    """Compare what a store holds with what was stored."""
    with LocalStore(folder) as store:
        assert not store.damaged
        for item in (SHORT, LONG):
            assert read(store, item) == item.data
        assert list(verify_packs(store, PLUGINS)) == []


def test_stored_buffers_are_found_by_the_next_process(tmp_path: Path) -> None:
    fill(tmp_path)
    check(tmp_path)


def test_buffer_of_another_dtype_is_another_buffer(tmp_path: Path) -> None:
    fill(tmp_path)
    other = BufferId("I32", LONG.identity.digest)
    with LocalStore(tmp_path) as store:
        assert other not in store.find([other])
        with pytest.raises(MissingPackError, match="holds the buffer I32"):
            Reader(store, PLUGINS).open(other)


@pytest.mark.parametrize(
    "index", [None, b"", b"not a database" * 100], ids=["gone", "empty", "other"]
)
def test_index_is_made_anew_from_the_packs(tmp_path: Path, index: bytes | None) -> None:
    fill(tmp_path)
    path = tmp_path / "index.sqlite"
    path.unlink()
    if index is not None:
        path.write_bytes(index)
    check(tmp_path)


def test_index_that_is_damaged_inside_is_made_anew(tmp_path: Path) -> None:
    fill(tmp_path)
    path = tmp_path / "index.sqlite"
    data = path.read_bytes()
    assert len(data) > 2 * 1024
    path.write_bytes(data[:1024] + b"\xff" * (len(data) - 1024))
    check(tmp_path)


def test_packs_that_come_and_go_are_noticed(tmp_path: Path) -> None:
    pack = fill(tmp_path / "one")
    moved = tmp_path / "two" / "objects" / pack
    with LocalStore(tmp_path / "two") as store:
        (tmp_path / "one" / "objects" / pack).rename(moved)
        assert store.find([SHORT.identity]) == {}
        store.refresh()
        assert read(store, SHORT) == b"short"
    with LocalStore(tmp_path / "one") as store:
        assert store.find([SHORT.identity]) == {}
        with pytest.raises(MissingPackError, match=f"Pack {pack} is not in the store"):
            store.pack(pack)
    check(tmp_path / "two")


def test_what_another_process_indexes_while_buffers_are_looked_up_is_left_out(
    tmp_path: Path,
) -> None:
    pack = fill(tmp_path)
    with LocalStore(tmp_path) as store:
        database = sqlite3.connect(tmp_path / "index.sqlite")
        with database:  # names of packs are read first: this is what was added since
            database.execute("DELETE FROM packs WHERE id = ?", (pack,))
        database.close()
        assert store.find([SHORT.identity]) == {}


def test_rebuilt_index_is_the_same(tmp_path: Path) -> None:
    fill(tmp_path)
    with LocalStore(tmp_path) as store:
        before = store.find([SHORT.identity, LONG.identity])
        store.rebuild()
        assert store.find([SHORT.identity, LONG.identity]) == before


def test_damaged_pack_is_left_out_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = fill(tmp_path)
    bad = tmp_path / "objects" / ("f" * 64)
    bad.write_bytes((tmp_path / "objects" / pack).read_bytes()[:-1])
    with LocalStore(tmp_path) as store:
        assert list(store.damaged) == ["f" * 64]
        assert read(store, SHORT) == b"short"
        store.warn_damaged()
    assert f"git-theta: warning: Pack {'f' * 64}" in capsys.readouterr().err


def test_buffer_in_several_packs_is_read_from_the_shallowest(tmp_path: Path) -> None:
    with LocalStore(tmp_path) as store:
        for pack, depth in (("a" * 64, 3), ("b" * 64, 1), ("c" * 64, 1)):
            store.index.add(pack, [(7, 0, depth, SHORT.identity)])
        assert store.find([SHORT.identity])[SHORT.identity] == [
            Location("b" * 64, 7, 0, 1),
            Location("c" * 64, 7, 0, 1),
            Location("a" * 64, 7, 0, 3),
        ]


def test_buffer_is_read_from_another_pack_where_one_is_damaged(tmp_path: Path) -> None:
    pack = fill(tmp_path)
    out = io.BytesIO()
    writer = PackWriter(out)
    parts = [[writer.name("nothing-has-this-name", "x"), "U8", 5, 2048, [5]]]
    row = [writer.name("dense", "x"), b"", 1, 5, [], parts, [[*SHORT.identity, 5]]]
    writer.write(b"short")
    writer.end_payload(row, 5)
    other = writer.finish()
    (tmp_path / "objects" / other).write_bytes(out.getvalue())
    with LocalStore(tmp_path) as store:
        assert len(store.find([SHORT.identity])[SHORT.identity]) == 2
        assert read(store, SHORT) == b"short"
        store.index.remove(pack)
        with pytest.raises(MissingPluginError, match="pip install x"):
            read(store, SHORT)


def test_few_packs_are_open_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_module, "OPEN_PACKS", 2)
    items = [item_of(bytes([n]) * 3000) for n in range(5)]
    with LocalStore(tmp_path) as store:
        for item in items:
            put(store, item)
        for item in items:
            assert read(store, item) == item.data
        assert len(store._open) == 2


@pytest.mark.parametrize(
    "name", ["", "a", "A" * 64, "../" + "a" * 61, "a" * 63 + "\n", "a" * 65, "/etc/passwd"]
)
def test_no_path_is_made_of_what_is_no_name(tmp_path: Path, name: str) -> None:
    folder = PackFolder(tmp_path)
    (tmp_path / "file").write_bytes(b"x")
    for function in (
        lambda: folder.path(name),
        lambda: folder.missing([name]),
        lambda: folder.put({name: tmp_path / "file"}),
        lambda: folder.get({name: tmp_path / "new"}, {name: 9}),
        lambda: folder.adopt(tmp_path / "file", name),
        lambda: folder.delete(name),
    ):
        with pytest.raises(StoreError, match="64 hex digits"):
            function()


def test_pack_that_is_not_what_its_name_says_is_not_copied(tmp_path: Path) -> None:
    pack = fill(tmp_path / "store")
    source = PackFolder(tmp_path / "store" / "objects")
    source.path(pack).chmod(0o644)
    source.path(pack).write_bytes(source.path(pack).read_bytes().replace(b"short", b"shirt"))
    target = PackFolder(tmp_path / "copy")
    with pytest.raises(PackError, match=f"Pack {pack} at .* is corrupt"):
        target.put({pack: source.path(pack)})
    with pytest.raises(PackError, match=f"Pack {pack} at .* is corrupt"):
        source.get({pack: tmp_path / "got"}, {pack: 9})
    assert target.packs() == set()
    assert not (tmp_path / "got").exists()
    assert not list((tmp_path / "copy" / "tmp").iterdir())


def test_an_index_for_which_there_is_no_space_is_an_error_and_filled_later(tmp_path: Path) -> None:
    items = [item_of(bytes([number]) * 1000) for number in range(200)]
    store = LocalStore(tmp_path)
    store.index._db.execute("PRAGMA max_page_count = 1")  # no more than it has
    put(store, *items)
    with pytest.raises(StoreError, match=r"is full\nFree some space"):
        store.find([items[0].identity])
    store.index._db.execute("PRAGMA max_page_count = 1000000")
    assert len(store.find([item.identity for item in items])) == len(items)
    store.close()
