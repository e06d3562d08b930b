"""Repacking: fewer bytes, the same files, and nothing lost whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import clean_file, pack_names, plugins, rebuild_file, synthetic_file

from git_theta import repack as repack_module
from git_theta.cli.repack import said
from git_theta.errors import PackError, StoreError
from git_theta.metadata import parse
from git_theta.repack import Repacked, repack
from git_theta.rewrite import Version
from git_theta.storage import replace
from git_theta.storage.folder import PackFolder
from git_theta.storage.index import Location
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import MAX_DEPTH, BufferId, Payload
from git_theta.storage.verify import verify_packs


class Interrupted(BaseException):
    """As if the process was killed."""


@cache
def files(count: int = 5) -> tuple[bytes, ...]:
    """Versions of a checkpoint: two long groups, short ones, a long tail; some of each changes."""
    rng = np.random.default_rng(0)
    long = [rng.standard_normal(12_000, dtype=np.float32) for _ in range(2)]
    short = [rng.standard_normal(100, dtype=np.float32) for _ in range(4)]
    found = []
    for number in range(count):
        long[0] = long[0] + np.float32(1e-6)
        if number % 2:
            long[1] = long[1] * np.float32(1.0001)
        short[number % 4] = short[number % 4] + 1
        values = [one.tobytes() for one in (*long, *short)]
        found.append(
            synthetic_file(
                [("F32", b"", False, one) for one in values],
                [(f"w{at}", "F32", (len(one) // 4,), at, 0, None) for at, one in enumerate(values)],
                f"step {number}".encode() * 30,
            )
        )
    return tuple(found)


def add(folder: Path, *data: bytes) -> list[bytes]:
    """Store files that know nothing of each other; their metadata."""
    with LocalStore(folder) as store:
        return [clean_file(one, store) for one in data]


def run(folder: Path, texts: Sequence[bytes], **options: Any) -> Repacked:
    versions = [Version("model.bin", lambda text=text: text) for text in texts]  # type: ignore[misc]
    with LocalStore(folder) as store:
        return repack(store, plugins(), versions, **options)


def assert_sound(folder: Path, texts: Sequence[bytes], data: Sequence[bytes]) -> None:
    """Every pack is sound, and every file comes back."""
    with LocalStore(folder) as store:
        assert not store.damaged
        assert list(verify_packs(store, plugins())) == []
        assert [rebuild_file(text, store) for text in texts] == list(data)


def payloads(folder: Path) -> Iterator[Payload]:
    with LocalStore(folder) as store:
        for pack in store.packs.packs():
            yield from map(store.pack(pack).payload, range(len(store.pack(pack))))


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / "objects" / name).read_bytes() for name in pack_names(folder)}


def test_versions_that_knew_nothing_of_each_other_are_told_by_their_differences(
    tmp_path: Path,
) -> None:
    texts = add(tmp_path, *files())
    done = run(tmp_path, texts)
    assert done.changed
    assert done.bytes_after < 0.75 * done.bytes_before
    assert (done.versions, done.packs_before, done.packs_after, done.left) == (5, 5, 1, 0)
    assert done.bytes_after == sum(map(len, contents(tmp_path).values()))
    assert {payload.update[0] for payload in payloads(tmp_path)} >= {"dense", "delta", "patch"}
    assert_sound(tmp_path, texts, files())


def test_repacking_again_gains_nothing_and_changes_nothing(tmp_path: Path) -> None:
    texts = add(tmp_path, *files())
    run(tmp_path, texts)
    packs = contents(tmp_path)
    again = run(tmp_path, texts)
    assert not again.changed
    assert again.bytes_after == again.bytes_before
    assert contents(tmp_path) == packs


@pytest.mark.parametrize("dense", [False, True])
def test_a_dry_run_tells_what_it_would_give_and_changes_nothing(
    tmp_path: Path, dense: bool
) -> None:
    texts = add(tmp_path, *files())
    packs = contents(tmp_path)
    told = run(tmp_path, texts, dry_run=True, dense=dense)
    assert contents(tmp_path) == packs
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"objects"}
    assert run(tmp_path, texts, dense=dense) == told


def test_dense_leaves_nothing_that_stands_on_another(tmp_path: Path) -> None:
    texts = add(tmp_path, *files())
    packed = run(tmp_path, texts)
    dense = run(tmp_path, texts, dense=True)
    assert dense.changed
    assert dense.bytes_after > packed.bytes_after
    assert {(payload.update[0], payload.depth) for payload in payloads(tmp_path)} == {("dense", 1)}
    assert_sound(tmp_path, texts, files())
    assert not run(tmp_path, texts, dense=True).changed
    assert run(tmp_path, texts).bytes_after == packed.bytes_after


def test_many_versions_stay_cheap_to_read(tmp_path: Path) -> None:
    texts = add(tmp_path, *files(20))
    run(tmp_path, texts)
    for payload in payloads(tmp_path):
        assert payload.depth <= MAX_DEPTH
        nbytes = sum(nbytes for _, nbytes in payload.buffers)
        assert payload.depth == 1 or payload.cost <= 2 * nbytes + 4096
    assert_sound(tmp_path, texts, files(20))


def test_what_no_version_refers_to_is_kept_and_stands_on_the_others(tmp_path: Path) -> None:
    data = files()
    with LocalStore(tmp_path) as store:
        texts = [clean_file(data[0], store)]
        texts += [clean_file(one, store, previous=texts[0]) for one in data[1:]]
    before = sum(map(len, contents(tmp_path).values()))
    done = run(tmp_path, texts[2:3])
    assert sum(map(len, contents(tmp_path).values())) <= before
    assert done.bytes_after <= 1.05 * before
    assert_sound(tmp_path, texts, data)


def test_an_unknown_file_and_one_in_several_places_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    tail = rng.bytes(3_000_000)
    views = synthetic_file(
        [("F32", b"", True, rng.bytes(80_000))],
        [("all", "F32", (20_000,), 0, 0, None), ("some", "F32", (10,), 0, 5, (2,))],
    )
    data = [tail, tail[:1_500_000] + b"inserted" + tail[1_500_000:], views, b"empty but this"]
    texts = add(tmp_path, *data)
    done = run(tmp_path, texts, dense=True)
    assert done.packs_after == 1
    assert_sound(tmp_path, texts, data)


def test_a_full_pack_is_followed_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("git_theta.storage.combine.PACK_BYTES", 40_000)
    texts = add(tmp_path, *files())
    done = run(tmp_path, texts)
    assert 1 < done.packs_after < 5
    assert_sound(tmp_path, texts, files())


def fail_at(call: int, real: Callable[..., Any]) -> Callable[..., Any]:
    """A function that stops at its nth call, before or after it did its work."""
    calls = 0

    def failing(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == -(-call // 2) and call % 2:
            raise Interrupted
        done = real(*args, **options)
        if calls == call // 2 and not call % 2:
            raise Interrupted
        return done

    return failing


@pytest.mark.parametrize(
    ("where", "call"),
    [*(("adopt", call) for call in (1, 4, 12, 13, 14)), *(("delete", n) for n in (1, 2, 5, 10))],
)
def test_it_may_be_interrupted_at_any_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, call: int
) -> None:
    texts = add(tmp_path, *files())
    monkeypatch.setattr(repack_module.shutil, "rmtree", lambda *_, **__: None)
    monkeypatch.setattr(PackFolder, where, fail_at(call, getattr(PackFolder, where)))
    with pytest.raises(Interrupted):
        run(tmp_path, texts)
    assert (tmp_path / "repack").is_dir()
    monkeypatch.undo()
    assert_sound(tmp_path, texts, files())
    run(tmp_path, texts)
    assert not (tmp_path / "repack").exists()
    assert len(pack_names(tmp_path)) == 1
    assert_sound(tmp_path, texts, files())


def test_it_may_be_interrupted_between_new_and_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = add(tmp_path, *files())
    monkeypatch.setattr(replace, "needed_of", fail_at(1, replace.needed_of))
    with pytest.raises(Interrupted):
        run(tmp_path, texts)
    monkeypatch.undo()
    assert len(pack_names(tmp_path)) == 6
    assert_sound(tmp_path, texts, files())
    assert run(tmp_path, texts).packs_after == len(pack_names(tmp_path)) == 1


@pytest.mark.parametrize("place", [0.3, 0.5, 0.9])
def test_a_damaged_pack_is_an_error_that_names_it_and_nothing_changes(
    tmp_path: Path, place: float
) -> None:
    texts = add(tmp_path, *files())
    name = sorted(pack_names(tmp_path))[2]
    path = tmp_path / "objects" / name
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 0x10
    path.chmod(0o644)
    path.write_bytes(data)
    packs = contents(tmp_path)
    with pytest.raises(PackError, match=name) as raised:
        run(tmp_path, texts)
    assert "git theta fsck" in str(raised.value)
    assert contents(tmp_path) == packs
    assert not (tmp_path / "repack").exists()


def test_what_is_lost_already_keeps_nothing_else_from_being_repacked(tmp_path: Path) -> None:
    texts = add(tmp_path, *files())
    lost = {hint.pack for hint in parse(texts[1]).packs} - {
        hint.pack for at in (0, 2, 3, 4) for hint in parse(texts[at]).packs
    }
    for name in lost:
        (tmp_path / "objects" / name).unlink()
    with LocalStore(tmp_path) as store:
        buffers = {b for p in store.packs.packs() for *_, b in store.pack(p).buffers()}
    assert run(tmp_path, texts).changed
    with LocalStore(tmp_path) as store:
        assert store.find(buffers).keys() == buffers
        assert list(verify_packs(store, plugins())) == []


def test_what_stands_on_what_is_not_here_stays_and_is_counted(tmp_path: Path) -> None:
    with LocalStore(tmp_path) as store:
        texts = [clean_file(files()[0], store)]
        for data in files()[1:3]:
            texts.insert(0, clean_file(data, store, versions=texts))
    largest = max(contents(tmp_path).items(), key=lambda item: len(item[1]))[0]
    (tmp_path / "objects" / largest).unlink()
    left = contents(tmp_path)
    done = run(tmp_path, texts)
    assert (done.packs_before, done.incomplete, done.changed) == (0, 2, False)
    assert "2 more packs cannot be repacked" in said(done, dry_run=False)
    assert contents(tmp_path) == left


def test_old_packs_stay_while_another_process_has_the_store_open(tmp_path: Path) -> None:
    texts = add(tmp_path, *files())
    with LocalStore(tmp_path):
        done = run(tmp_path, texts, patience=0)
        assert (done.changed, done.left) == (True, 5)
        assert len(pack_names(tmp_path)) == 6
    assert_sound(tmp_path, texts, files())
    assert run(tmp_path, texts, patience=0).left == 0
    assert len(pack_names(tmp_path)) == 1
    assert_sound(tmp_path, texts, files())


def test_what_was_added_meanwhile_stands_on_what_was_repacked(tmp_path: Path) -> None:
    *data, late = files()
    texts = add(tmp_path, *data)
    added: list[bytes] = []

    def add_once(_: int) -> None:
        if not added:
            with LocalStore(tmp_path) as other:
                added.append(clean_file(late, other, previous=texts[-1]))

    done = run(tmp_path, texts, advance=add_once)
    assert (done.changed, done.left) == (True, 0)
    assert len(pack_names(tmp_path)) == 2
    assert_sound(tmp_path, [*texts, *added], files())
    assert run(tmp_path, [*texts, *added]).left == 0
    assert len(pack_names(tmp_path)) == 1
    assert_sound(tmp_path, [*texts, *added], files())


def test_a_second_one_at_the_same_time_is_refused(tmp_path: Path) -> None:
    texts = add(tmp_path, *files())
    refused: list[str] = []

    def try_again(_: int) -> None:
        with pytest.raises(StoreError, match="being repacked by another process") as raised:
            run(tmp_path, texts)
        refused.append(str(raised.value))

    assert run(tmp_path, texts, advance=try_again).packs_after == 1
    assert refused
    assert_sound(tmp_path, texts, files())


def test_every_payload_can_be_read_while_old_packs_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = files(8)
    with LocalStore(tmp_path) as store:
        texts: list[bytes] = []
        for one in data:
            texts.append(clean_file(one, store, previous=texts[-1] if texts else None))
    real, problems = LocalStore.remove, []

    def remove(self: LocalStore, pack: str) -> None:
        real(self, pack)
        problems.extend(verify_packs(self, plugins()))

    monkeypatch.setattr(LocalStore, "remove", remove)
    assert run(tmp_path, texts, dense=True).left == 0
    assert problems == []
    assert len(pack_names(tmp_path)) == 1


def test_a_pack_that_has_something_only_it_has_stays(tmp_path: Path) -> None:
    texts = add(tmp_path, *files())
    old = pack_names(tmp_path)
    new = PackFolder(tmp_path / "new")
    kept = sorted(old)[0]
    new.put({kept: tmp_path / "objects" / kept})
    with LocalStore(tmp_path) as store:
        left = replace.replace_packs(store, old, new)
    assert left == old - {kept}
    assert_sound(tmp_path, texts, files())


def test_a_removed_pack_is_forgotten(tmp_path: Path) -> None:
    add(tmp_path, *files(1))
    with LocalStore(tmp_path) as store:
        (pack,) = store.packs.packs()
        buffers: list[BufferId] = [buffer for *_, buffer in store.pack(pack).buffers()]
        found: dict[BufferId, list[Location]] = store.find(buffers)
        assert found.keys() == set(buffers)
        store.remove(pack)
        assert store.find(buffers) == {}
    assert pack_names(tmp_path) == set()
