"""Short groups that changed are told by what they were, each by itself, and stay cheap to read."""

from __future__ import annotations

from pathlib import Path

import msgpack
import numpy as np
import pytest
from numpy.typing import NDArray
from synthetic import clean_file, plugins, rebuild_file, synthetic_file

from git_theta import lineage
from git_theta.errors import MissingPackError
from git_theta.metadata import parse
from git_theta.repack import repack
from git_theta.rewrite import Version
from git_theta.storage.chain import Ways
from git_theta.storage.decode import Reader
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import MAX_DEPTH, BufferId, Column, Payload, parse_payload
from git_theta.storage.verify import verify_packs

Groups = dict[str, NDArray[np.float32]]
GROUPS = 40


def biases(seed: int = 0, count: int = GROUPS) -> Groups:
    rng = np.random.default_rng(seed)
    return {
        f"layer.{n}.bias": rng.standard_normal(256 + 8 * n, dtype=np.float32) for n in range(count)
    }


def stepped(groups: Groups, seed: int, size: float = 1e-5) -> Groups:
    rng = np.random.default_rng(seed)
    return {
        name: values + np.float32(size) * rng.standard_normal(len(values), dtype=np.float32)
        for name, values in groups.items()
    }


def file_of(groups: Groups) -> bytes:
    return synthetic_file(
        [("F32", b"", False, values.tobytes()) for values in groups.values()],
        [(name, "F32", (len(v),), n, 0, None) for n, (name, v) in enumerate(groups.items())],
    )


def stored(store: LocalStore) -> int:
    return sum(store.packs.path(pack).stat().st_size for pack in store.packs.packs())


def payloads(store: LocalStore) -> list[Payload]:
    packs = [store.pack(pack) for pack in sorted(store.packs.packs())]
    return [pack.payload(number) for pack in packs for number in range(len(pack))]


def identities(text: bytes) -> list[BufferId]:
    return [BufferId(group.dtype, group.digest) for group in parse(text).groups]


def test_small_steps_of_short_groups_take_the_bytes_of_a_difference(tmp_path: Path) -> None:
    first = biases()
    second = stepped(first, 1)
    with LocalStore(tmp_path) as store:
        text = clean_file(file_of(first), store)
        whole = stored(store)
        again = clean_file(file_of(second), store, previous=text)
        assert stored(store) - whole < 0.55 * whole
        (standing,) = [one for one in payloads(store) if one.bases]
        assert isinstance(standing.bases, Column)
        assert sorted(standing.bases) == sorted(identities(text))
        assert standing.update[0] == "delta"
        assert rebuild_file(text, store) == file_of(first)
        assert rebuild_file(again, store) == file_of(second)
        assert list(verify_packs(store, plugins())) == []


def test_groups_that_resemble_nothing_stay_without_a_base(tmp_path: Path) -> None:
    first = biases()
    second = stepped(first, 1)
    for name in list(second)[::2]:
        second[name] = biases(7)[name]
    with LocalStore(tmp_path) as store:
        text = clean_file(file_of(first), store)
        again = clean_file(file_of(second), store, previous=text)
        assert sorted(len(one.buffers) for one in payloads(store) if one.bases) == [GROUPS // 2]
        assert rebuild_file(again, store) == file_of(second)


def test_every_group_of_a_long_history_is_read_from_few_payloads_and_bytes(tmp_path: Path) -> None:
    groups, text, versions = biases(count=12), b"", []
    with LocalStore(tmp_path) as store:
        for seed in range(12):
            groups = stepped(groups, seed, 1e-6)
            text = clean_file(file_of(groups), store, previous=text or None)
            versions.append((text, file_of(groups)))
        ways = Ways(store)
        depths = set()
        for text, data in versions:
            assert rebuild_file(text, store) == data
            for buffer, group in zip(identities(text), parse(text).groups, strict=True):
                steps = ways.chain(ways.find([buffer])[buffer])
                assert len(steps) <= MAX_DEPTH
                assert sum(step.nbytes for step in steps.values()) <= 2 * group.nbytes + 4096
                depths.add(len(steps))
        assert max(depths) > 1


def test_a_group_of_a_bundle_needs_its_own_base_alone(tmp_path: Path) -> None:
    """Two files put their groups into two packs, a third changes both: one pack is lost then."""
    halves = [biases(0, 10), {f"more.{name}": values for name, values in biases(1, 10).items()}]
    both = stepped(halves[0] | halves[1], 2)
    with LocalStore(tmp_path) as store:
        texts = [clean_file(file_of(half), store) for half in halves]
        whole = clean_file(file_of(halves[0] | halves[1]), store)
        text = clean_file(file_of(both), store, previous=whole)
        hints = {hint.pack: hint.items for hint in parse(text).packs}
        lost = {hint.pack for hint in parse(texts[0]).packs}
        assert len(lost) == 1
        assert all(len(hints[pack]) == 10 for pack in lost)
    for pack in lost:
        (tmp_path / "objects" / pack).unlink()
    with LocalStore(tmp_path) as store:
        reader = Reader(store, plugins())
        for buffer, group in zip(identities(text), parse(text).groups, strict=True):
            if group.name.startswith("more."):
                source = reader.open(buffer)
                assert bytes(source.read(0, source.size)) == both[group.name].tobytes()
            else:
                with pytest.raises(MissingPackError):
                    reader.open(buffer)


def test_a_buffer_that_cannot_be_read_leaves_its_neighbours_readable(tmp_path: Path) -> None:
    one = biases(count=10)
    with LocalStore(tmp_path) as store:
        before = clean_file(file_of(one), store)
        text = clean_file(file_of(stepped(one, 1)), store, previous=before)
        ways, buffers = Ways(store), identities(text)
        located = ways.find(buffers)
        assert len({location[:2] for location in located.values()}) == 1
        ways.avoid(located[buffers[0]])
        assert ways.find(buffers).keys() == set(buffers[1:])


def test_blocks_that_are_shorter_than_their_buffers_are_told_by_their_own_length() -> None:
    def column(*numbers: int) -> bytes:
        return np.array(numbers, "<u4").tobytes()

    row = [
        300, 0, b"", 2, 400, [["U8", bytes(64)]],
        [[1, "U8", 300, column(100, 200), column(100, 200)]],
        [["U8", bytes(64), column(1000, 500)]],
    ]  # fmt: skip
    payload = parse_payload(msgpack.packb(row), [("dense", "x"), ("raw", "x")], 0)
    assert [payload.stored(slot) for slot in range(2)] == [100, 200]


def test_repacking_keeps_short_groups_on_their_bases(tmp_path: Path) -> None:
    groups = [biases()]
    groups += [stepped(groups[0], seed) for seed in (1, 2)]
    with LocalStore(tmp_path) as store:
        texts = [clean_file(file_of(one), store) for one in groups]  # none knows of another
        before = stored(store)
        versions = [Version("m.bin", lambda text=text: text) for text in texts]  # type: ignore[misc]
        assert repack(store, plugins(), versions).changed
    with LocalStore(tmp_path) as store:
        assert stored(store) < 0.75 * before
        assert sum(len(one.buffers) for one in payloads(store) if one.bases) == 2 * GROUPS
        assert [rebuild_file(text, store) for text in texts] == list(map(file_of, groups))
        assert list(verify_packs(store, plugins())) == []
        versions = [Version("m.bin", lambda text=text: text) for text in texts]  # type: ignore[misc]
        assert not repack(store, plugins(), versions).changed
        assert repack(store, plugins(), versions, dense=True).changed
        assert not [one for one in payloads(store) if one.bases]


def test_few_bytes_are_not_worth_reading_much_metadata(tmp_path: Path) -> None:
    """A group of 4 bytes among hundreds: to look for its base would take more than it has."""
    first = biases() | {f"scale.{n}": np.ones(1, np.float32) for n in range(200)}
    second = first | {"scale.7": np.full(1, 1.0001, np.float32)}
    with LocalStore(tmp_path) as store:
        text = clean_file(file_of(first), store)
        again = clean_file(file_of(second), store, previous=text)
        assert not [one for one in payloads(store) if isinstance(one.bases, Column)]
        assert rebuild_file(again, store) == file_of(second)


@pytest.mark.parametrize("dtype", ["F64", "BF16", "F16", "F8_E4M3", "I64", "C64", "BOOL", "F4"])
def test_short_groups_of_any_dtype_come_back(tmp_path: Path, dtype: str) -> None:
    rng = np.random.default_rng(3)
    bits = rng.integers(0, 8, 2400, np.uint8)
    changed = bits.copy()
    changed[::16] += 1
    rows = {"F4": 4800, "C64": 300, "F64": 300, "I64": 300, "BF16": 1200, "F16": 1200}

    def file(values: NDArray[np.uint8]) -> bytes:
        group = ("w", dtype, (rows.get(dtype, 2400),), 0, 0, None)
        return synthetic_file([(dtype, b"", False, values.tobytes())], [group])

    with LocalStore(tmp_path) as store:
        text = clean_file(file(bits), store)
        again = clean_file(file(changed), store, previous=text)
        assert parse(again).groups[0].dtype == dtype
        assert rebuild_file(text, store) == file(bits)
        assert rebuild_file(again, store) == file(changed)


def test_the_same_files_give_the_same_packs(tmp_path: Path) -> None:
    first = biases()
    names = []
    for folder in ("a", "b"):
        with LocalStore(tmp_path / folder) as store:
            text = clean_file(file_of(first), store)
            clean_file(file_of(stepped(first, 1)), store, previous=text)
            names.append(store.packs.packs())
    assert names[0] == names[1]


def test_more_short_groups_than_can_be_compared_in_time_are_stored_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineage, "MAX_SHORT", GROUPS - 1)
    first = biases()
    second = stepped(first, 1)
    with LocalStore(tmp_path) as store:
        text = clean_file(file_of(first), store)
        again = clean_file(file_of(second), store, previous=text)
        assert not [one for one in payloads(store) if isinstance(one.bases, Column)]
        assert rebuild_file(again, store) == file_of(second)
