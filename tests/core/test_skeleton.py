"""A file that no format knows is opened where it is read; that it is all there is known before."""

from __future__ import annotations

import gc
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3
from synthetic import clean_file, pack_names, plugins, rebuild_file

from git_theta import recent as recent_module
from git_theta import skeleton as skeleton_module
from git_theta.errors import MetadataError, MissingPackError
from git_theta.metadata import Metadata, Skeleton, parse
from git_theta.skeleton import Chunks, Origin, read_skeleton
from git_theta.smudge import content, rebuild
from git_theta.source import BytesSource
from git_theta.storage import decode as decode_module
from git_theta.storage import writing as writing_module
from git_theta.storage.buffers import store_buffers
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import BufferId, StoredPart
from git_theta.storage.wanted import Wanted

NOISE = random.Random(11).randbytes(12 * 2**20)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalStore]:
    """A store whose packs are small, so that a file has several."""
    monkeypatch.setattr(writing_module, "PACK_BYTES", 2**20)
    with LocalStore(tmp_path) as opened:
        yield opened


def parts_alive() -> int:
    return sum(type(found) is StoredPart for found in gc.get_objects())


@pytest.mark.parametrize("threads", ["1", "2"])
def test_few_chunks_are_open_at_once(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, threads: str
) -> None:
    monkeypatch.setenv("GIT_THETA_THREADS", threads)
    monkeypatch.setattr(skeleton_module, "BATCH", 10)
    monkeypatch.setattr(skeleton_module, "OPEN_BATCHES", 2)
    monkeypatch.setattr(recent_module, "RECENT_BYTES", 0)
    monkeypatch.setattr("git_theta.smudge.STEP", 2**19)
    metadata = parse(clean_file(NOISE, store))
    monkeypatch.setattr(decode_module, "recent", recent_module.Recent())  # of this test alone
    gc.collect()
    before, most, found = parts_alive(), 0, bytearray()
    rebuilt = rebuild(metadata, "x", store=store, plugins=plugins())
    chunks = rebuilt.skeleton._count * 10
    for data in content(rebuilt):
        found += data
        most = max(most, parts_alive() - before)
    assert found == NOISE
    assert chunks > 100
    assert 0 < most <= 60  # two batches are kept, others are being read or made


@pytest.mark.parametrize("number", [0, 5, -1])
def test_a_lost_pack_is_found_before_anything_is_read(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(skeleton_module, "BATCH", 10)
    metadata = parse(clean_file(NOISE, store))
    packs = sorted(pack_names(store.folder))
    assert len(packs) > 5
    path = store.packs.path(packs[number])
    store.close()
    with LocalStore(store.folder) as opened:  # one that has read no pack yet
        path.unlink()
        for _ in range(2):  # known to the index, and then not
            with pytest.raises(MissingPackError, match=f"the skeleton.*\n  pack {path.name}\n"):
                rebuild(metadata, "x", store=opened, plugins=plugins())
            opened.refresh()


def metadata_of(entries: list[tuple[bytes, int]], store: LocalStore) -> Metadata:
    """Metadata of a skeleton that is one list of chunks; the list is stored."""
    data = b"".join(value + struct.pack("<I", nbytes) for value, nbytes in entries)
    value = blake3(data).digest()
    wanted = Wanted(((BufferId("U8", value), len(data)),), BytesSource(data))
    store_buffers(store, plugins(), iter([wanted]), lambda _: None)
    text = clean_file(b"anything", store)
    return parse(text)._replace(skeleton=Skeleton(value, len(data), 1))


def test_a_lost_base_of_a_chunk_is_found_before_anything_is_read(store: LocalStore) -> None:
    first = clean_file(NOISE[:60_000], store)
    base_pack = pack_names(store.folder).pop()
    second = parse(clean_file(NOISE[:60_000] + b"more", store, previous=first)).skeleton
    plain = parse(clean_file(NOISE[2**16 : 2**17], store)).skeleton
    metadata = metadata_of([plain[:2], second[:2]], store)
    assert store.find([BufferId("U8", second.digest)])[BufferId("U8", second.digest)][0].depth == 2
    origin = Origin(metadata, "x", store, plugins())
    assert read_skeleton(origin).size == plain.nbytes + second.nbytes
    store.packs.path(base_pack).unlink()
    store.refresh()
    with pytest.raises(MissingPackError):
        read_skeleton(origin)


def test_a_chunk_of_another_length_than_listed_is_refused_when_it_is_read(
    store: LocalStore,
) -> None:
    metadata = parse(clean_file(NOISE[: 2**21], store))
    chunks = read_skeleton(Origin(metadata, "x", store, plugins()))._entries(0)
    listed = [(identity.digest, nbytes) for identity, nbytes in chunks]
    listed[1] = (listed[1][0], listed[1][1] - 1)
    read = read_skeleton(Origin(metadata_of(listed, store), "x", store, plugins()))
    with pytest.raises(MetadataError, match=f"expected {listed[1][1]}"):
        read.read(0, 10)


def test_any_part_of_the_chunks_can_be_read(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skeleton_module, "BATCH", 7)
    text = clean_file(NOISE, store)
    assert rebuild_file(text, store) == NOISE
    read = read_skeleton(Origin(parse(text), "x", store, plugins()))
    assert isinstance(read, Chunks)
    at = read.size - len(NOISE)  # after the layout
    for start, nbytes in [(0, 1), (0, len(NOISE)), (2**20 - 3, 2**22), (len(NOISE) - 5, 5), (9, 0)]:
        assert read.read(at + start, nbytes) == NOISE[start : start + nbytes]
    read.verify()
