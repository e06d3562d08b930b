"""What lies in an open file is read there, and not from the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from synthetic import clean_file, plugins, synthetic_file
from test_clean_smudge import files

from git_theta.at_hand import buffers_in
from git_theta.digests import digest
from git_theta.errors import FileChangedError
from git_theta.metadata import parse
from git_theta.skeleton import Origin
from git_theta.smudge import content, rebuild
from git_theta.source import BytesSource, FileSource, Source
from git_theta.storage.local import LocalStore
from git_theta.storage.pack import Pack
from git_theta.storage.payload import BufferId, Payload
from git_theta.testing.blocks import weights

KIB = 2**10


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    with LocalStore(tmp_path / "theta") as store:
        yield store


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> set[bytes]:
    """The digests of all buffers in payloads that are looked at from now on."""
    found: set[bytes] = set()
    real = Pack.payload

    def payload(pack: Pack, number: int) -> Payload:
        given = real(pack, number)
        found.update(identity.digest for identity, _ in given.buffers)
        return given

    monkeypatch.setattr(Pack, "payload", payload)
    return found


def at_hand(file: bytes | Source, text: bytes, store: LocalStore) -> dict[BufferId, Source]:
    source = BytesSource(file) if isinstance(file, bytes) else file
    return buffers_in(source, Origin(parse(text), "model.bin", store, plugins()))


def rebuild_with(text: bytes, store: LocalStore, found: dict[BufferId, Source]) -> bytes:
    made = rebuild(parse(text), "model.bin", store=store, plugins=plugins(), at_hand=found)
    return b"".join(map(bytes, content(made)))


def two_groups(first: bytes, second: bytes) -> bytes:
    groups = [("a", first), ("b", second)]
    buffers = [("F32", b"gap", False, data) for _, data in groups]
    tensors = [
        (name, "F32", (len(data) // 4,), number, 0, None)
        for number, (name, data) in enumerate(groups)
    ]
    return synthetic_file(buffers, tensors)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(file=files())
def test_buffers_lie_where_the_metadata_says(store: LocalStore, file: bytes) -> None:
    text = clean_file(file, store)
    found = at_hand(file, text, store)
    assert {identity.digest for identity in found} == {digest(one) for one in found.values()}
    metadata = parse(text)
    groups = {BufferId(group.dtype, group.digest) for group in metadata.groups}
    buffers = {BufferId(buffer.dtype, buffer.digest) for buffer in metadata.buffers}
    assert buffers <= set(found) <= groups | buffers
    assert rebuild_with(text, store, found) == file


def test_what_is_inside_of_a_frame_is_not_at_hand(store: LocalStore) -> None:
    packed, plain = weights("F32", 40 * KIB), weights("F32", 40 * KIB, seed=1)
    frame = zstandard.ZstdCompressor(level=1).compress(packed)
    file = synthetic_file(
        [("F32", b"", False, frame, len(packed)), ("F32", b"gap", True, plain)],
        [("a", "F32", (10 * KIB,), 0, 0, None), ("b", "F32", (10 * KIB,), 1, 0, None)],
    )
    text = clean_file(file, store)
    (identity,) = found = at_hand(file, text, store)
    group = {group.name: group for group in parse(text).groups}["b"]
    assert identity == BufferId("F32", group.digest)
    assert digest(found[identity]) == group.digest
    assert rebuild_with(text, store, found) == file


def test_only_what_the_file_lacks_is_looked_for(store: LocalStore, reads: set[bytes]) -> None:
    same, other = weights("F32", 40 * KIB), weights("F32", 40 * KIB, seed=1)
    before = two_groups(same, other)
    old = clean_file(before, store)
    new = clean_file(two_groups(same, weights("F32", 40 * KIB, seed=2)), store, previous=old)
    found = at_hand(before, old, store)
    reads.clear()
    rebuild_with(new, store, found)
    kept, changed = (group.digest for group in parse(new).groups)
    assert changed in reads
    assert kept not in reads


def test_a_base_may_be_at_hand(store: LocalStore) -> None:
    numbers = weights("F32", 200 * KIB)
    changed = bytearray(numbers)
    changed[1000:1004] = b"\0\0\x80\x3f"
    before, after = two_groups(numbers, b"\0" * 4), two_groups(bytes(changed), b"\0" * 4)
    old = clean_file(before, store)
    new = clean_file(after, store, previous=old)
    (base,) = (i for i in at_hand(before, old, store) if i.digest == parse(old).groups[0].digest)
    read: list[int] = []

    class Watched(BytesSource):
        def _read(self, offset: int, nbytes: int) -> memoryview:
            read.append(nbytes)
            return super()._read(offset, nbytes)

    assert rebuild_with(new, store, {base: Watched(numbers)}) == after
    assert sum(read) >= len(numbers)


def test_a_file_that_somebody_wrote_to_is_not_taken_for_damage(store: LocalStore) -> None:
    before = two_groups(weights("F32", 40 * KIB), weights("F32", 40 * KIB, seed=1))
    text = clean_file(before, store)
    other = BytesSource(before.replace(before[-100:], bytes(100)))
    with pytest.raises(FileChangedError, match=r"model\.bin was written to while"):
        rebuild_with(text, store, at_hand(other, text, store))


def test_a_file_that_became_shorter_is_not_taken_for_damage(
    store: LocalStore, tmp_path: Path
) -> None:
    before = two_groups(weights("F32", 40 * KIB), weights("F32", 40 * KIB, seed=1))
    text = clean_file(before, store)
    path = tmp_path / "model.bin"
    path.write_bytes(before)
    with path.open("r+b") as file:
        found = at_hand(FileSource(file.fileno()), text, store)
        file.truncate(len(before) - 100)
        with pytest.raises(FileChangedError, match=r"model\.bin was written to while"):
            rebuild_with(text, store, found)
