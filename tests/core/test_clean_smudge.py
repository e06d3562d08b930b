"""Whatever a file's layout, cleaning and rebuilding give it back, and the same text every time."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic import clean_file, pack_names, plugins, rebuild_file, synthetic_file

from git_theta import chunks as chunks_module
from git_theta import table as table_module
from git_theta.dtypes import BITS, scalar_bytes
from git_theta.errors import FileChangedError, LimitExceeded, MissingPluginError, PackError
from git_theta.metadata import parse
from git_theta.plugins import Plugins
from git_theta.smudge import content, rebuild
from git_theta.source import BytesSource
from git_theta.storage import writing as writing_module
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import BufferId
from git_theta.storage.verify import verify_packs
from git_theta.testing.blocks import weights

DTYPES = sorted(BITS)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    with LocalStore(tmp_path / "theta") as store:
        yield store


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A file of buffers of all kinds, some equal, and of tensors that look at them in all ways."""
    buffers, tensors = [], []
    for number in range(draw(st.integers(0, 8))):
        dtype = draw(st.sampled_from(DTYPES))
        unit = max(3, BITS[dtype] // 8 * 2)  # whole numbers of every dtype
        count = draw(st.sampled_from([0, 1, 2, 7, 100, 700, 3000]))
        data = weights(dtype, 48 * count, seed=draw(st.integers(0, 2)))[: unit * count]
        width = BITS[dtype]
        if draw(st.integers(0, 4)) == 0:
            data = bytes(len(data))
        buffers.append((dtype, draw(st.binary(max_size=9)), draw(st.booleans()), data))
        elements = len(data) * 8 // width
        for view in range(draw(st.integers(0, 3))):
            name = draw(
                st.sampled_from([f"t{number}.{view}", f"z {number} {view}", f"ä{number}{view}"])
            )
            kind = draw(st.sampled_from(["whole", "flat", "slice", "strided"]))
            if kind == "strided" and width >= 8 and elements >= 6:
                steps = draw(st.sampled_from([(1, 2), (2, 1), (0, 1), (3, 0)]))
                tensors.append(
                    (name, dtype, (2, 3), number, draw(st.integers(0, elements - 6)), steps)
                )
            elif kind == "slice" and elements and width >= 8:
                low = draw(st.integers(0, elements - 1))
                tensors.append((name, dtype, (elements - low,), number, low, None))
            else:
                shape = (elements,) if kind == "flat" else (1, elements, 1)
                tensors.append((name, dtype, shape, number, 0, None))
    return synthetic_file(buffers, tensors, draw(st.binary(max_size=20)))


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(files(), st.sampled_from([48, 4096, 2**30]))
def test_any_layout_comes_back_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, file: bytes, run_bytes: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_module, "RUN_BYTES", run_bytes)
        with LocalStore(tmp_path_factory.mktemp("store")) as store:
            text = clean_file(file, store, write=False)
            assert pack_names(store.folder) == set()
            stored = clean_file(file, store)
            assert [line for line in stored.split(b"\n") if not line.startswith(b"pack ")] == (
                text.split(b"\n")
            )
            packs = pack_names(store.folder)
            assert clean_file(file, store) == stored
            assert pack_names(store.folder) == packs
            assert rebuild_file(stored, store) == file
            assert rebuild_file(text, store) == file
            assert list(verify_packs(store, plugins())) == []
            check_groups(file, stored)


def check_groups(file: bytes, text: bytes) -> None:
    """Compare the digest of every group with one of elements that numpy picked."""
    layout = plugins().format("synthetic").scan(BytesSource(file), None)
    digests = {group.name: group.digest for group in parse(text).groups}
    assert len(digests) == len(layout.tensors)
    for name, dtype, shape, number, offset, strides in layout.tensors:
        _, start, nbytes, big, *_ = layout.buffers[number]
        width = BITS[dtype] // 8
        data = file[start : start + nbytes]
        if strides:
            elements = np.frombuffer(data, f"V{width}")[offset:]
            steps = [step * width for step in strides]
            data = np.lib.stride_tricks.as_strided(elements, shape, steps).tobytes()
        else:
            data = data[offset * width :]
        if big:
            data = np.frombuffer(data, f">u{scalar_bytes(dtype)}").byteswap().tobytes()
        assert digests[name] == blake3(data).digest(), name


def dense(*arrays: bytes, dtype: str = "F32") -> bytes:
    """A file of one group for each array."""
    width = BITS[dtype] // 8
    buffers = [(dtype, b"", False, data) for data in arrays]
    tensors = [(f"w{n}", dtype, (len(a) // width,), n, 0, None) for n, a in enumerate(arrays)]
    return synthetic_file(buffers, tensors)


def test_group_line_depends_on_its_content_alone(store: LocalStore) -> None:
    data = weights("F32", 4000)
    big = np.frombuffer(data, "<u4").byteswap().tobytes()
    transposed = np.frombuffer(data, "<u4").reshape(10, 100).T.tobytes()
    ways = [
        synthetic_file([("F32", b"", False, data)], [("w", "F32", (10, 100), 0, 0, None)]),
        synthetic_file([("F32", b"xyz", True, big)], [("w", "F32", (10, 100), 0, 0, None)]),
        synthetic_file(
            [("F32", b"", False, b"1234" + data)], [("w", "F32", (10, 100), 0, 1, None)]
        ),
        synthetic_file([("F32", b"", False, transposed)], [("w", "F32", (10, 100), 0, 0, (1, 10))]),
        synthetic_file([("I32", b"", False, data)], [("w", "F32", (10, 100), 0, 0, None)]),
        synthetic_file(
            [("F32", b"", False, data)],
            [("w", "F32", (10, 100), 0, 0, None), ("a tie", "F32", (1000,), 0, 0, None)],
        ),
    ]
    texts = [clean_file(file, store) for file in ways]
    for file, text in zip(ways, texts, strict=True):
        assert rebuild_file(text, store) == file
    lines = {re.search(rb"^group w .*$", text, re.MULTILINE)[0] for text in texts}  # type: ignore[index]
    assert len(lines) == 1


def test_buffer_is_stored_once_whatever_the_file(store: LocalStore) -> None:
    data = weights("F32", 2**20)
    clean_file(dense(data), store)
    before = store_bytes(store)
    clean_file(dense(data, data, data), store)
    clean_file(synthetic_file([("F32", b"", True, data)], []), store)  # other numbers: stored
    big = np.frombuffer(data, "<u4").byteswap().tobytes()
    grown = store_bytes(store) - before
    clean_file(synthetic_file([("F32", b"", True, big)], []), store)
    assert grown > len(data) // 2
    assert store_bytes(store) - before - grown < 4096


def store_bytes(store: LocalStore) -> int:
    return sum(store.packs.path(name).stat().st_size for name in store.packs.packs())


def test_bytes_of_another_dtype_are_another_buffer(store: LocalStore) -> None:
    data = weights("F32", 40_000)
    text = clean_file(dense(data), store)
    other = clean_file(dense(data, dtype="I32"), store)
    assert rebuild_file(text, store) == dense(data)
    assert rebuild_file(other, store) == dense(data, dtype="I32")
    assert len(pack_names(store.folder)) == 2


def test_long_skeleton_is_cut_and_comes_back(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = random.Random(1).randbytes(3 * 2**20)
    data = weights("F32", 40_000)
    buffers = [("F32", noise[n * 2**20 :][: 2**20], False, data) for n in range(3)]
    file = synthetic_file(buffers, [("w", "F32", (10_000,), 1, 0, None)], b"end")
    text = clean_file(file, store)
    assert parse(text).skeleton.cuts == 1
    assert rebuild_file(text, store) == file
    monkeypatch.setattr(chunks_module, "WHOLE", 2**10)
    text = clean_file(file, store)
    assert parse(text).skeleton.cuts >= 2
    assert rebuild_file(text, store) == file


def test_unknown_file_shares_what_did_not_change(store: LocalStore) -> None:
    noise = random.Random(2).randbytes(4 * 2**20)
    text = clean_file(noise, store)
    assert b"\nformat unknown" in text.replace(b"metadata 1\nformat", b"\nformat")
    before = store_bytes(store)
    edited = noise[: 2**20] + b"inserted" + noise[2**20 :]
    assert rebuild_file(clean_file(edited, store), store) == edited
    assert rebuild_file(text, store) == noise
    assert store_bytes(store) - before < 2**20


@pytest.mark.parametrize("threads", [2, 4, 7])
def test_threads_change_nothing(
    tmp_path: Path, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing_module, "PACK_BYTES", 2**20)
    arrays = [weights("F32", size, seed=size) for size in (4, 400, 4000, 2**20, 5 * 2**20, 12)]
    arrays += [weights("F32", 64 + 4 * n, seed=n) for n in range(300)]
    file = dense(*arrays) + random.Random(3).randbytes(2**20)
    found = []
    for count in (1, threads):
        monkeypatch.setenv("GIT_THETA_THREADS", str(count))
        with LocalStore(tmp_path / str(count)) as store:
            text = clean_file(file, store)
            assert rebuild_file(text, store) == file
            found.append((text, pack_names(store.folder)))
    assert found[0] == found[1]
    assert len(found[0][1]) > 2


def test_file_that_changes_while_it_is_added_is_noticed(store: LocalStore) -> None:
    class Changing(BytesSource):
        """Other bytes from the third reading of its last byte on."""

        reads = 0

        def _read(self, offset: int, nbytes: int) -> memoryview:
            if offset + nbytes < self.size:
                return super()._read(offset, nbytes)
            self.reads += 1
            data = bytearray(super()._read(offset, nbytes))
            if self.reads > 2:
                data[-1] ^= 1
            return memoryview(data)

    with pytest.raises(FileChangedError, match="F32") as caught:
        clean_file(Changing(dense(weights("F32", 100_000))), store)
    assert "git add again" in caught.value.remedy
    assert pack_names(store.folder) == set()
    assert not list((store.folder / "objects" / "tmp").iterdir())


def test_file_of_more_groups_than_metadata_holds_is_unknown(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from git_theta.clean import Cleaning, clean

    file = dense(*[weights("F32", 40, seed=n) for n in range(30)])
    for module, limit, value in (
        ("git_theta.table", "MAX_ITEMS", 30),
        ("git_theta.clean", "MAX_BYTES", 2000),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(f"{module}.{limit}", value)
            found = clean(
                Cleaning(
                    BytesSource(file),
                    "m.bin",
                    blake3(file).digest(),
                    store=store,
                    plugins=plugins(),
                )
            )
        assert "format unknown git-theta-core" in found.text.decode()
        assert found.warning.startswith("m.bin: ")
        assert rebuild_file(found.text, store) == file
    monkeypatch.setattr(chunks_module, "MAX_LIST", 36)
    with pytest.raises(LimitExceeded):
        clean_file(random.Random(4).randbytes(2**21), store)


def test_known_format_that_is_not_installed_is_refused(store: LocalStore) -> None:
    text = clean_file(dense(weights("F32", 4000)), store)
    with pytest.raises(MissingPluginError, match="pip install theta-synthetic"):
        clean_file(dense(weights("F32", 8000)), store, previous=text, known=Plugins())


@pytest.mark.parametrize("what", ["group 'w1'", "group 'w0'", "the skeleton"])
@pytest.mark.parametrize("cut", [False, True])
def test_damage_is_told_by_group_and_pack(
    store: LocalStore, what: str, cut: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noise is stored as it is, so a flipped byte decodes to other weights without complaint."""
    noise = [random.Random(n).randbytes(50_000) for n in range(3)]
    if cut:
        monkeypatch.setattr(chunks_module, "WHOLE", 2**10)
    file = synthetic_file(
        [("U8", noise[2], False, noise[0]), ("U8", b"", False, noise[1])],
        [("w0", "U8", (50_000,), 0, 0, None), ("w1", "U8", (50_000,), 1, 0, None)],
    )
    text = clean_file(file, store)
    (pack,) = pack_names(store.folder)
    target = noise[{"group 'w0'": 0, "group 'w1'": 1, "the skeleton": 2}[what]]
    path = store.packs.path(pack)
    data = path.read_bytes()
    at = data.index(target[25_000:25_100])
    path.chmod(0o644)
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    damaged = rebuild_fails(text, store)
    assert f"model.bin, {what}: " in str(damaged)
    assert pack in str(damaged)
    assert "git theta fsck" in damaged.remedy
    assert [str(problem.where) for problem in verify_packs(store, plugins())] == [
        f"pack {pack}"
    ] * 2


def test_damage_that_cannot_be_decoded_is_told_by_group_and_pack(store: LocalStore) -> None:
    text = clean_file(dense(weights("F32", 100_000)), store)
    (pack,) = pack_names(store.folder)
    identity = BufferId("F32", parse(text).groups[0].digest)
    (place,) = store.find([identity])[identity]
    start, path = store.pack(pack).payload(place.payload).start, store.packs.path(pack)
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(data[:start] + b"\xff" * 100 + data[start + 100 :])
    damaged = rebuild_fails(text, store)
    assert "group 'w0'" in str(damaged)
    assert pack in str(damaged)
    assert "git theta fsck" in damaged.remedy


def rebuild_fails(text: bytes, store: LocalStore) -> PackError:
    with pytest.raises(PackError) as caught:
        rebuild_file(text, store)
    return caught.value


def test_metadata_of_another_file_is_not_taken_for_damage(store: LocalStore) -> None:
    text = clean_file(dense(weights("F32", 4000)), store)
    digest = parse(text).digest.hex().encode()
    lies = text.replace(digest, b"0" * 64)
    fault = rebuild_fails(lies, store)
    assert "is not the file that its metadata describes" in str(fault)
    assert "git checkout COMMIT -- model.bin" in fault.remedy


def test_items_are_the_buffers_little_endian(store: LocalStore) -> None:
    data = weights("F32", 4000)
    big = np.frombuffer(data, "<u4").byteswap().tobytes()
    file = synthetic_file(
        [("F32", b"gap", True, big), ("U8", b"", False, b""), ("F32", b"", False, data[:40])],
        [("w", "F32", (1000,), 0, 0, None), ("part", "F32", (3,), 2, 2, None)],
        b"tail",
    )
    metadata = parse(clean_file(file, store))
    rebuilt = rebuild(metadata, "model.bin", store=store, plugins=Plugins())
    found = {item: bytes(source.read(0, source.size)) for item, source in rebuilt.sources.items()}
    assert [group.name for group in metadata.groups] == ["part", "w"]
    assert found == {2: data, 3: data[:40], 4: b""}
    told: list[int] = []
    assert b"".join(map(bytes, content(rebuilt, told.append))) == file
    assert sum(told) == len(file)
