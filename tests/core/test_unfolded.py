"""Numbers that lie compressed are seen, stored as those that do not, and given back to the byte."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zstandard
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic import (
    Packed,
    Raw,
    clean_file,
    pack_names,
    plugins,
    rebuild_file,
    synthetic_file,
)

from git_theta import crew, smudge
from git_theta import table as table_module
from git_theta.checkpoint import Buffer, Layout, Tensor
from git_theta.clean import Cleaned, Cleaning, clean
from git_theta.errors import (
    FormatMismatch,
    LimitExceeded,
    MetadataError,
    PackError,
    StoreError,
)
from git_theta.metadata import parse, print_metadata
from git_theta.source import BytesSource
from git_theta.storage import unfolded as module
from git_theta.storage.local import LocalStore
from git_theta.storage.unfolded import unfolded
from git_theta.testing.blocks import weights
from git_theta.testing.memory import at_most

MIB = 2**20
FORMS = ((1, False), (3, True), (12, False), (-5, False))
"""Levels, and whether with a checksum."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    with LocalStore(tmp_path / "theta") as store:
        yield store


def pack(data: bytes, level: int = 1, checksum: bool = False) -> bytes:
    return zstandard.ZstdCompressor(level=level, write_checksum=checksum).compress(data)


def whole(*arrays: tuple[bytes, bool], end: bytes = b"") -> bytes:
    """A file of F32 arrays, each compressed or not: a group each, a..."""
    buffers: list[Raw | Packed] = []
    tensors = []
    for number, (data, packs) in enumerate(arrays):
        packed: Packed = ("F32", b"before", False, pack(data), len(data))
        buffers.append(packed if packs else ("F32", b"before", False, data))
        tensors.append((chr(97 + number), "F32", (len(data) // 4,), number, 0, None))
    return synthetic_file(buffers, tensors, end)


def clean_unknown(data: bytes, store: LocalStore, path: str = "model.bin") -> Cleaned:
    return clean(
        Cleaning(
            BytesSource(data),
            path,
            blake3(data).digest(),
            store=store,
            plugins=plugins(),
            versions=(),
        )
    )


def described(text: bytes) -> dict[str, bytes]:
    return {group.name: group.digest for group in parse(text).groups}


@st.composite
def files(draw: st.DrawFn) -> tuple[bytes, dict[str, bytes]]:
    """A file of numbers of several kinds, of which some are compressed, and the groups' digests."""
    buffers: list[Raw | Packed] = []
    tensors, expected = [], {}
    for number in range(draw(st.integers(1, 6))):
        dtype = draw(st.sampled_from(["F32", "BF16", "I64", "BOOL"]))
        count = draw(st.sampled_from([1, 2, 100, 5000, 70_000]))
        width = {"F32": 4, "BF16": 2, "I64": 8, "BOOL": 1}[dtype]
        data = weights(dtype, width * count, seed=draw(st.integers(0, 1)))
        big = width > 1 and draw(st.booleans())
        little = np.frombuffer(data, f"u{width}").byteswap().tobytes() if big else data
        before = draw(st.binary(max_size=5))
        if draw(st.integers(0, 3)):
            level, checksum = draw(st.sampled_from(FORMS))
            buffers.append((dtype, before, big, pack(data, level, checksum), len(data)))
        else:
            buffers.append((dtype, before, big, data))
        tensors.append((f"{number}", dtype, (count,), number, 0, None))
        expected[f"{number}"] = blake3(little).digest()
        if count > 2:
            tensors.append((f"{number} odd", dtype, (count // 2,), number, 1, (2,)))
            odd = np.frombuffer(little, f"u{width}")[1::2][: count // 2]
            expected[f"{number} odd"] = blake3(odd.tobytes()).digest()
    return synthetic_file(buffers, tensors, draw(st.binary(max_size=5))), expected


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(files())
def test_any_file_comes_back_and_its_groups_are_its_numbers(
    store: LocalStore, made: tuple[bytes, dict[str, bytes]]
) -> None:
    file, expected = made
    text = clean_file(file, store)
    assert described(text) == expected
    assert rebuild_file(text, store) == file
    assert clean_file(file, store, write=False) == text


def test_numbers_are_stored_once_whether_they_are_compressed_or_not(store: LocalStore) -> None:
    data = weights("F32", 2 * MIB)
    raw, packed = whole((data, False)), whole((data, True))
    first = clean_file(raw, store)
    before = store_bytes(store)
    second = clean_file(packed, store, path="other.bin")
    assert described(first) == described(second)
    assert store_bytes(store) - before < len(packed) // 200
    assert rebuild_file(second, store) == packed


def test_a_frame_that_did_not_change_costs_nothing_under_another_path(store: LocalStore) -> None:
    data = [(weights("F32", MIB, seed=seed), True) for seed in range(4)]
    clean_file(whole(*data), store, path="one.bin")
    before = store_bytes(store)
    changed = whole((weights("F32", 4000, seed=9), True), *data[::-1])
    text = clean_file(changed, store, path="two.bin")
    assert store_bytes(store) - before < 2 * 4000
    assert rebuild_file(text, store, path="two.bin") == changed


def store_bytes(store: LocalStore) -> int:
    return sum(store.packs.path(name).stat().st_size for name in pack_names(store.folder))


def test_numbers_of_a_frame_may_lie_in_several_runs(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_module, "RUN_BYTES", 4096)
    file = whole((weights("F32", 10_000), True), (weights("F32", 4000), True), end=b"end")
    text = clean_file(file, store)
    assert len(parse(text).groups) == 2
    assert rebuild_file(text, store) == file
    long = described(clean_file(whole((weights("F32", 10_000), False)), store))
    assert described(text)["a"] == long["a"]


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("forks", [True, False])
def test_long_frames_are_made_in_a_stream_on_any_machine(
    threads: str, forks: bool, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_THETA_THREADS", threads)
    for user in (smudge, module):
        monkeypatch.setattr(user, "can_fork", lambda: forks and crew.can_fork())
        monkeypatch.setattr(user, "MUCH", MIB)
    file = whole(*((weights("F32", 5 * MIB, seed=seed), seed != 1) for seed in range(3)), end=b"e")
    text = clean_file(file, store)
    assert len(parse(text).buffers) == 2
    assert rebuild_file(text, store) == file


def test_memory_does_not_grow_with_a_frame(tmp_path: Path) -> None:
    data = weights("F32", 64 * MIB)
    file = BytesSource(pack(data))
    layout = Layout((Buffer("F32", 0, file.size, False, "zstd", len(data)),))
    with at_most(12 * MIB, "opening a frame"), unfolded(file, layout, tmp_path) as opened:
        assert opened.layout.buffers[1].nbytes == len(data)
        hasher = blake3()
        for block in opened.file.window(opened.file.size - len(data), len(data)).blocks():
            hasher.update(block)
    assert hasher.digest() == blake3(data).digest()


def test_what_is_not_compressed_is_not_copied(tmp_path: Path) -> None:
    file, layout = BytesSource(bytes(16)), Layout((Buffer("F32", 0, 16),))
    with unfolded(file, layout, tmp_path / "new") as opened:
        assert opened.file is file
        assert opened.layout is layout
    assert not (tmp_path / "new").exists()


def test_work_is_told_in_terms_of_the_file(store: LocalStore) -> None:
    file = whole((bytes(4 * MIB), True), (weights("F32", MIB), True), (bytes(4000), False))
    told: list[int] = []
    source, digest = BytesSource(file), blake3(file).digest()
    clean(Cleaning(source, "x", digest, store=store, plugins=plugins(), advance=told.append))
    assert min(told) >= 0
    assert len(file) < sum(told) <= 2.1 * len(file)


DATA = weights("F32", 40_000)
FRAME = pack(DATA)
CLOSED = {
    "holds fewer bytes": (FRAME, len(DATA) + 4),
    "holds more bytes": (FRAME, len(DATA) - 4),
    "is cut": (FRAME[:-1], len(DATA)),
    "is followed by a byte": (FRAME + b"\0", len(DATA)),
    "is two": (FRAME + FRAME, 2 * len(DATA)),
    "is none": (b"no frame", 40_000),
    "is empty": (b"", 40_000),
    "is damaged": (FRAME[:5000] + bytes([FRAME[5000] ^ 1]) + FRAME[5001:], len(DATA)),
    "is a bomb": (pack(bytes(200 * MIB)), 200 * MIB),
    "claims a bomb": (FRAME, 2**62),
}


@pytest.mark.parametrize("what", CLOSED)
def test_a_frame_that_cannot_be_opened_is_kept_as_it_is(what: str, store: LocalStore) -> None:
    frame, decoded = CLOSED[what]
    buffers = [("F32", b"", False, frame, decoded), ("F32", b"", False, FRAME, len(DATA))]
    tensors = [("bad", "F32", (100,), 0, 0, None), ("good", "F32", (10_000,), 1, 0, None)]
    file = synthetic_file(buffers, tensors, b"end")
    with at_most(20 * MIB, what):
        text = clean_file(file, store)
    found = described(text)
    if what == "is damaged":  # libzstd may read it all the same, and then it is other numbers
        found.pop("bad", None)
    assert found == {"good": blake3(DATA).digest()}
    assert rebuild_file(text, store) == file


@pytest.mark.parametrize("what", CLOSED)
def test_a_file_of_which_nothing_can_be_opened_is_unknown(what: str, store: LocalStore) -> None:
    frame, decoded = CLOSED[what]
    if what == "is damaged":
        frame = frame[:-3]
    tensors = [("bad", "F32", (100,), 0, 0, None)]
    file = synthetic_file([("F32", b"", False, frame, decoded)], tensors, b"end")
    cleaned = clean_unknown(file, store)
    assert parse(cleaned.text).formats == (("unknown", "git-theta-core"),)
    assert cleaned.warning == (
        "model.bin: Expected frames of zstd that can be opened and given back, found none\n"
        "Save it without compression, so that git-theta sees its arrays one by one"
    )
    assert rebuild_file(cleaned.text, store) == file


def test_zeros_are_opened_as_far_as_the_file_allows(tmp_path: Path) -> None:
    """A frame of 1 MiB of zeros takes some 50 bytes: there is a bound for all of them together."""
    frame = pack(bytes(MIB))
    count = 100
    file = BytesSource(frame * count)
    buffers = [Buffer("U8", n * len(frame), len(frame), False, "zstd", MIB) for n in range(count)]
    tensors = [Tensor(f"{n}", "U8", (MIB,), n) for n in range(count)]
    with unfolded(file, Layout(tuple(buffers), tuple(tensors)), tmp_path) as opened:
        expected = module.MAX_RATIO * file.size + module.MAX_MORE
        assert expected - MIB < len(opened.recipes) * MIB <= expected
        assert len(opened.layout.tensors) == len(opened.recipes)


def test_views_that_have_far_more_than_their_frame_are_refused(tmp_path: Path) -> None:
    frame = pack(DATA)
    buffer = Buffer("F32", 0, len(frame), False, "zstd", len(DATA))
    huge = Tensor("huge", "F32", (2**20, 2**20), 0, 0, (0, 0))
    layout = Layout((buffer,), (huge,))
    with (
        pytest.raises(FormatMismatch, match="strided"),
        unfolded(BytesSource(frame), layout, tmp_path),
    ):
        pass


def test_recipes_that_are_mixed_up_make_no_file(store: LocalStore) -> None:
    arrays = [(weights("F32", 40_000, seed=seed), True) for seed in range(2)]
    text = clean_file(whole(*arrays), store)
    one, other = (group.digest.hex().encode() for group in parse(text).groups)
    mixed = text.replace(one, b"?").replace(other, one).replace(b"?", other)
    with pytest.raises(PackError, match="is not the file that its metadata describes") as caught:
        rebuild_file(print_metadata(parse(mixed)), store)
    assert "git checkout COMMIT" in caught.value.remedy


def test_what_is_opened_lies_elsewhere_where_the_store_cannot_be_written_to(
    store: LocalStore,
) -> None:
    (store.folder / "tmp").write_bytes(b"no folder")  # root may write to any that is one
    data = whole((DATA, True))
    assert rebuild_file(clean_file(data, store), store) == data


def test_no_room_for_what_is_opened_is_an_error_that_says_so(tmp_path: Path) -> None:
    frame = pack(DATA)
    layout = Layout((Buffer("F32", 0, len(frame), False, "zstd", len(DATA)),))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with (
            pytest.raises(StoreError, match=r"Cannot keep .* aside in") as caught,
            unfolded(BytesSource(frame), layout, tmp_path),
        ):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "Free some space" in caught.value.remedy
    assert not list(tmp_path.iterdir())


def test_more_frames_than_metadata_can_hold_are_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ITEMS", 7)
    frame = pack(DATA)
    buffers = [
        Buffer("F32", n * len(frame), len(frame), False, "zstd", len(DATA)) for n in range(4)
    ]
    with (
        pytest.raises(LimitExceeded, match="found 4 and 4"),
        unfolded(BytesSource(frame * 4), Layout(tuple(buffers)), tmp_path),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_frames_that_claim_far_more_than_their_file_are_refused(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = clean_file(whole((DATA, True)), store)
    monkeypatch.setattr(smudge, "MAX_RATIO", 0)
    monkeypatch.setattr(smudge, "MAX_MORE", len(DATA) - 1)
    with pytest.raises(MetadataError, match=f"its frames hold {len(DATA)} bytes"):
        rebuild_file(text, store)
