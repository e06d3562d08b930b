"""Stores that were filled apart from each other lie in one: nothing loops, nothing is lost."""

from __future__ import annotations

import shutil
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from synthetic import clean_file, pack_names, plugins, rebuild_file, synthetic_file

from git_theta.errors import MissingPackError
from git_theta.metadata import parse
from git_theta.repack import repack
from git_theta.rewrite import Version
from git_theta.storage.local import LocalStore
from git_theta.storage.verify import verify_packs


def step(number: int) -> bytes:
    """A checkpoint of one group after so many small steps of training."""
    values = np.random.default_rng(0).standard_normal(20_000, np.float32)
    data = (values + np.float32(number * 1e-5)).tobytes()
    return synthetic_file([("F32", b"", False, data)], [("w", "F32", (20_000,), 0, 0, None)])


STEPS = [step(number) for number in range(3)]


def meet(folder: Path) -> dict[int, list[bytes]]:
    """A store of six, each with all steps in another order; the metadata of each step."""
    texts: dict[int, list[bytes]] = {number: [] for number in range(len(STEPS))}
    (folder / "objects").mkdir(parents=True)
    for order in permutations(range(len(STEPS))):
        apart = folder / "apart"
        with LocalStore(apart) as store:
            previous = None
            for number in order:
                previous = clean_file(STEPS[number], store, previous=previous)
                texts[number].append(previous)
        for name in pack_names(apart):
            shutil.copyfile(apart / "objects" / name, folder / "objects" / name)
        shutil.rmtree(apart)
    return texts


def test_every_version_is_read_where_each_is_told_by_each_other(tmp_path: Path) -> None:
    texts = meet(tmp_path)
    with LocalStore(tmp_path) as store:
        updates = {
            payload.update[0]
            for pack in map(store.pack, store.packs.packs())
            for payload in map(pack.payload, range(len(pack)))
        }
        assert updates >= {"dense", "delta"}
        for number, versions in texts.items():
            for text in versions:
                assert rebuild_file(text, store) == STEPS[number]
        assert list(verify_packs(store, plugins())) == []


def test_each_pack_may_get_lost_as_long_as_a_way_is_left(tmp_path: Path) -> None:
    texts = meet(tmp_path)
    for lost in sorted(pack_names(tmp_path)):
        (tmp_path / "objects" / lost).rename(tmp_path / lost)
        with LocalStore(tmp_path) as store:
            for number, versions in texts.items():
                assert rebuild_file(versions[0], store) == STEPS[number]
        (tmp_path / lost).rename(tmp_path / "objects" / lost)


def test_the_packs_that_metadata_names_suffice(tmp_path: Path) -> None:
    texts = meet(tmp_path / "all")
    for number, versions in texts.items():
        for text in versions:
            named = {hint.pack for hint in parse(text).packs}
            few = tmp_path / "few" / "objects"
            few.mkdir(parents=True)
            for name in named:
                shutil.copyfile(tmp_path / "all" / "objects" / name, few / name)
            with LocalStore(tmp_path / "few") as store:
                assert rebuild_file(text, store) == STEPS[number]
            shutil.rmtree(tmp_path / "few")


def test_without_anything_dense_it_is_an_error(tmp_path: Path) -> None:
    texts = meet(tmp_path)
    with LocalStore(tmp_path) as store:
        for pack in sorted(store.packs.packs()):
            payloads = map(store.pack(pack).payload, range(len(store.pack(pack))))
            if any(payload.update[0] == "dense" for payload in payloads):
                store.remove(pack)
        with pytest.raises(MissingPackError):
            rebuild_file(texts[0][0], store)


def test_a_repack_of_what_met_keeps_every_version_once(tmp_path: Path) -> None:
    texts = meet(tmp_path)
    versions = [
        Version("model.bin", lambda text=text: text)  # type: ignore[misc]
        for found in texts.values()
        for text in found
    ]
    with LocalStore(tmp_path) as store:
        done = repack(store, plugins(), versions)
        assert done.changed
        assert done.left == 0
        buffers = [b for p in store.packs.packs() for *_, b in store.pack(p).buffers()]
        assert len(buffers) == len(set(buffers))
        assert list(verify_packs(store, plugins())) == []
        for number, found in texts.items():
            assert [rebuild_file(text, store) for text in found] == [STEPS[number]] * len(found)
