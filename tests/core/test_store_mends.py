"""Damage is mended by storing again; many packs are read with few files open."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3
from synthetic import clean_file, plugins, rebuild_file, synthetic_file

from git_theta.errors import PluginError
from git_theta.metadata import parse
from git_theta.plugins import Plugins
from git_theta.serializers.planes import Planes
from git_theta.source import BytesSource
from git_theta.storage import handles
from git_theta.storage.buffers import store_buffers
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import BufferId
from git_theta.storage.verify import verify_packs
from git_theta.storage.wanted import Wanted
from git_theta.updates.dense import Dense
from git_theta.updates.interface import Part, Update


def model(value: int) -> bytes:
    values = bytes([value]) * 40_000
    return synthetic_file([("F32", b"", False, values)], [("w", "F32", (10_000,), 0, 0, None)])


def test_a_damaged_pack_is_replaced_when_its_buffers_are_stored_again(tmp_path: Path) -> None:
    with LocalStore(tmp_path) as store:
        clean_file(model(1), store)
        (pack,) = store.packs.packs()
    whole = (tmp_path / "objects" / pack).read_bytes()
    (tmp_path / "objects" / pack).chmod(0o644)
    (tmp_path / "objects" / pack).write_bytes(whole[:100])
    (tmp_path / "index.sqlite").unlink()
    with LocalStore(tmp_path) as store:
        text = clean_file(model(1), store)
        assert (tmp_path / "objects" / pack).read_bytes() == whole
        assert rebuild_file(text, store) == model(1)


def test_an_index_that_points_elsewhere_does_not_count_as_stored(tmp_path: Path) -> None:
    with LocalStore(tmp_path) as store:
        clean_file(model(1), store)
    with LocalStore(tmp_path) as store:
        other = parse(clean_file(model(2), store, write=False))
        (pack,) = store.index.packs()
        lost = BufferId("F32", other.groups[0].digest)
        store.index.add(pack, [(0, 0, 1, lost)])
    with LocalStore(tmp_path) as store:
        text = clean_file(model(2), store)
        assert rebuild_file(text, store) == model(2)


def test_a_damaged_index_is_replaced_in_memory_where_the_store_may_only_be_read() -> None:
    with tempfile.TemporaryDirectory() as folder:  # where another user may look
        store_folder = Path(folder, "store")
        with LocalStore(store_folder) as store:
            text = clean_file(model(1), store)
        assert _rebuilt(text, store_folder) == model(1)  # and all modules are imported
        (store_folder / "index.sqlite").write_bytes(b"no database" * 100)
        for path in (Path(folder), *Path(folder).rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        assert _as_a_stranger(lambda: _rebuilt(text, store_folder)) == model(1)
        assert (store_folder / "index.sqlite").read_bytes().startswith(b"no database")
        for path in (Path(folder), *Path(folder).rglob("*")):
            path.chmod(0o755)


def _rebuilt(text: bytes, folder: Path) -> bytes:
    with LocalStore(folder) as store:
        return bytes(rebuild_file(text, store))


def _as_a_stranger(work: Callable[[], bytes]) -> bytes:
    """What a process gives that may write nowhere, also where the tests are root's."""
    receiver, sender = os.pipe()
    if (child := os.fork()) == 0:
        try:
            if os.getuid() == 0:
                os.setuid(65534)
            with os.fdopen(sender, "wb") as out:
                out.write(work())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(sender)
    with os.fdopen(receiver, "rb") as data:
        found = data.read()
    os.waitpid(child, 0)
    return found


def test_many_packs_are_read_with_few_files_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handles, "MAX_OPEN", 4)
    values = [bytes([n]) * 40_000 for n in range(30)]
    with LocalStore(tmp_path) as store:
        for n in range(30):
            clean_file(model(n), store)
        every = synthetic_file(
            [("F32", b"", False, v) for v in values],
            [(f"w{n}", "F32", (10_000,), n, 0, None) for n in range(30)],
        )
        text = clean_file(every, store)
        assert len(parse(text).packs) > 20
        assert rebuild_file(text, store) == every
        opened = [
            os.readlink(f"/proc/self/fd/{fd}")
            for fd in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{fd}")
        ]
    assert sum(str(tmp_path / "objects") in path for path in opened) <= 4


def test_a_serializer_that_loses_a_number_is_caught_before_anything_refers_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = Planes.decode

    def lossy(self: Planes, data: bytes, dtype: str, nbytes: int) -> bytes:
        return bytes(decode(self, data, dtype, nbytes))[:-1] + b"?"

    monkeypatch.setattr(Planes, "decode", lossy)
    with LocalStore(tmp_path) as store, pytest.raises(PluginError, match="does not give back"):
        clean_file(model(1), store)
    assert not [name for name in os.listdir(tmp_path / "objects") if len(name) == 64]


def test_an_update_without_parts_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Dense, "encode", lambda *_: Update(()))
    with LocalStore(tmp_path) as store, pytest.raises(PluginError, match="without parts"):
        clean_file(model(1), store)


def test_an_empty_last_part_ends_its_payload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = Dense.encode

    def with_empty_part(self: Dense, *args: object) -> Update:
        update = encode(self, *args)  # type: ignore[arg-type]
        return Update((*update.parts, Part("U8", BytesSource(b""))))

    monkeypatch.setattr(Dense, "encode", with_empty_part)
    monkeypatch.setattr(
        Dense, "decode", lambda self, update, base, dtype, nbytes: update.parts[0].data
    )
    data = os.urandom(50_000)
    identity = BufferId("U8", blake3(data).digest())
    with LocalStore(tmp_path) as store:
        located = store_buffers(
            store, Plugins(), [Wanted(((identity, len(data)),), BytesSource(data))]
        )
        assert identity in located
        assert list(verify_packs(store, plugins())) == []


def test_an_index_with_rows_of_wrong_types_misleads_nobody(tmp_path: Path) -> None:
    with LocalStore(tmp_path) as store:
        clean_file(model(1), store)
    with sqlite3.connect(tmp_path / "index.sqlite") as db:
        db.execute("UPDATE buffers SET payload = 'x', depth = x'00', slot = 'y'")
        db.execute("INSERT INTO buffers SELECT key, pack, 7, 0, 'deep' FROM buffers")
    with LocalStore(tmp_path) as store:
        assert rebuild_file(clean_file(model(1), store), store) == model(1)
