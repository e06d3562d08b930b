"""Packs made to harm: each ends in an error of ours, in bounded time and memory."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from made_packs import (
    KERNEL,
    NAMES,
    PATCH,
    PLANES,
    RAW,
    digest,
    pack_around,
    pack_of,
    pack_with,
    put,
    row,
)

from git_theta.clean import Cleaning, clean
from git_theta.errors import PackError, ThetaError
from git_theta.metadata import Skeleton, parse, print_metadata
from git_theta.plugins import Plugins
from git_theta.serializers.planes import Planes
from git_theta.smudge import content, rebuild
from git_theta.source import BytesSource
from git_theta.storage.buffers import store_buffers
from git_theta.storage.chain import MAX_READS
from git_theta.storage.decode import Reader
from git_theta.storage.local import LocalStore
from git_theta.storage.pack import MAX_DIRECTORY, Pack
from git_theta.storage.payload import BufferId
from git_theta.storage.verify import verify_packs
from git_theta.storage.wanted import Wanted
from git_theta.testing.blocks import weights
from git_theta.testing.hostile import damaged, truncations
from git_theta.testing.memory import at_most

PLUGINS = Plugins()
MIB = 2**20
DATA = bytes(range(256)) * 12  # two blocks
ZSTD = zstandard.ZstdCompressor(level=19)


def open_all(path: Path) -> list[Any]:
    """All payloads of a pack."""
    with Pack(path) as pack:
        found = [pack.payload(number) for number in range(len(pack))]
        assert len(list(pack.buffers())) == sum(len(payload.buffers) for payload in found)
        return found


def refuse(tmp_path: Path, data: bytes, allowance: int = 2 * MIB) -> str:
    """The message under which a pack is refused, as a file and as a part of a store."""
    name = put(tmp_path, data)
    with at_most(allowance, "opening a pack"), pytest.raises(PackError) as caught:
        open_all(tmp_path / "objects" / name)
    with LocalStore(tmp_path) as store:
        assert name in store.damaged
        assert store.find([BufferId("U8", digest(DATA))]) == {}
        assert f"pack {name}" in [problem.where for problem in verify_packs(store, PLUGINS)]
    assert name in str(caught.value)
    assert "git theta fsck" in caught.value.remedy
    return str(caught.value)


def test_pack_that_the_others_are_made_from_is_right(tmp_path: Path) -> None:
    name = put(tmp_path, pack_of(DATA, [row(DATA)]))
    assert len(open_all(tmp_path / "objects" / name)) == 1
    with LocalStore(tmp_path) as store:
        assert read(store, DATA) == DATA
        assert list(verify_packs(store, PLUGINS)) == []


def read(store: LocalStore, data: bytes, dtype: str = "U8") -> bytes:
    source = Reader(store, PLUGINS).open(BufferId(dtype, digest(data)))
    return bytes(source.read(0, source.size))


NOT_NUMBERS = [-1, 1.0, float("nan"), True, "1", b"1", None, [], 2**64 - 1, 2**63]
NOT_DIGESTS = ["a" * 32, b"a" * 31, b"a" * 33, b"", 5, None, "ab" * 32, ["a"] * 32]
NOT_DTYPES = ["F33", "", b"U8", 8, None, ["U8"], "U8\0"]


def part(*fields: Any) -> dict[str, Any]:
    return {"parts": [list(fields)]}


def bundle(
    sizes: list[int],
    *,
    dtype: str = "U8",
    blocks: list[int] | None = None,
    lengths: list[int] | None = None,
) -> dict[str, Any]:
    """Parts and buffers of a bundle: of one block that is not serialized, unless told otherwise."""
    blocks = [sum(sizes)] if blocks is None else blocks
    lengths = blocks if lengths is None else lengths
    columns = [np.array(column, "<u4").tobytes() for column in (sizes, blocks, lengths)]
    return {
        "parts": [[RAW, dtype, sum(blocks), columns[1], columns[2]]],
        "buffers": [[dtype, bytes(32 * len(sizes)), columns[0]]],
    }


SIZES = [2048, 1024]
BASES = [["U8", bytes(64)]]
WRONG_ROWS: dict[str, dict[str, Any]] = {
    **{f"nbytes {n!r}": {"nbytes": n} for n in [*NOT_NUMBERS, 3071, 3073]},
    **{f"update {n!r}": {"update": n} for n in [*NOT_NUMBERS, 4, -4]},
    **{f"depth {n!r}": {"depth": n} for n in [*NOT_NUMBERS, 0, 2, 9]},
    **{f"cost {n!r}": {"cost": n} for n in [*NOT_NUMBERS, 3071, 3073]},
    **{f"params {p!r:.20}": {"params": p} for p in ["", None, 5, [], bytes(2**16 + 1)]},
    **{f"bases {b!r:.40}": {"bases": b, "depth": 2} for b in [[], [["U8"]], [5], 5, ["ab"]]},
    "two bases": {"bases": [["U8", bytes(32)]] * 2, "depth": 2},
    "a base without depth": {"bases": [["U8", bytes(32)]]},
    **{f"base digest {d!r:.20}": {"bases": [["U8", d]], "depth": 2} for d in NOT_DIGESTS},
    **{f"base dtype {d!r}": {"bases": [[d, bytes(32)]], "depth": 2} for d in NOT_DTYPES},
    **{f"parts {p!r}": {"parts": p} for p in [[], [[]], 5, "ab", [5], None, [[RAW, "U8", 3072]]]},
    **{f"serializer {n!r}": part(n, "U8", 3072, 2048, SIZES) for n in [*NOT_NUMBERS, 4, -1]},
    **{f"part dtype {d!r}": part(RAW, d, 3072, 2048, SIZES) for d in NOT_DTYPES},
    **{f"part bytes {n!r}": part(RAW, "U8", n, 2048, SIZES) for n in [*NOT_NUMBERS, 0, 2048, 4097]},
    **{
        f"block {n!r}": part(RAW, "U8", 3072, n, SIZES)
        for n in [*NOT_NUMBERS, 0, 1, 1024, 2047, 4096, 2**24]
    },
    **{
        f"lengths {n!r:.40}": part(RAW, "U8", 3072, 2048, n)
        for n in [
            *NOT_NUMBERS,
            [3072],
            [1024, 2048],
            [2049, 1023],
            [4096, -1024],
            [1536.0, 1536.0],
            [2048, 1024, 0],
            [2**64 - 1, 1],
            [2048, True],
            b"\x08\x04",
        ]
    },
    **{f"buffers {b!r:.40}": {"buffers": b} for b in [[], [[]], 5, None, [["U8", digest(DATA)]]]},
    **{f"buffer digest {d!r:.20}": {"buffers": [["U8", d, 3072]]} for d in NOT_DIGESTS},
    **{f"buffer dtype {d!r}": {"buffers": [[d, digest(DATA), 3072]]} for d in NOT_DTYPES},
    **{
        f"buffer bytes {n!r}": {"buffers": [["U8", digest(DATA), n]]}
        for n in [*NOT_NUMBERS, 0, 2**30 + 1]
    },
    "several buffers without being a bundle": {"buffers": [["U8", digest(DATA), 1536]] * 2},
    "a bundle of one buffer's part": {"buffers": bundle([1536] * 2)["buffers"]},
    "a bundle's part for one buffer": {"parts": bundle([3072])["parts"]},
    "a bundle with a base": {**bundle([1536] * 2), "bases": [["U8", bytes(32)]], "depth": 2},
    **{
        f"a bundle on {what}": {**bundle([1536] * 2, blocks=[1536] * 2), "depth": 2, "bases": bases}
        for what, bases in {
            "a base too few": [["U8", bytes(32)]],
            "a base too many": [["U8", bytes(96)]],
            "half a base": [["U8", bytes(63)]],
            "bases of another dtype": [["I8", bytes(64)]],
            "bases of unknown dtype": [["F33", bytes(64)]],
            "bases in two rows": [["U8", bytes(32)]] * 2,
            "text": [["U8", "a" * 64]],
            "nothing": [],
        }.items()
    },
    "a bundle on bases in fewer blocks": {**bundle([1536] * 2), "depth": 2, "bases": BASES},
    "a bundle on bases in more blocks": {
        **bundle([1536] * 2, blocks=[1000, 1000, 1072]),
        "depth": 2,
        "bases": BASES,
    },
    "a bundle on bases without depth": {**bundle([1536] * 2, blocks=[1536] * 2), "bases": BASES},
    "a bundle on bases with a block too long": {
        **bundle([4, 3068], blocks=[4105, 3068], lengths=[4, 3068]),
        "depth": 2,
        "bases": BASES,
    },
    "a bundle on bases with an empty block": {
        **bundle([1536] * 2, blocks=[0, 3072]),
        "depth": 2,
        "bases": BASES,
    },
    "a bundle of two parts": {**bundle([3072]), "parts": bundle([1536])["parts"] * 2},
    "a bundle of nothing": bundle([]),
    "a bundle without blocks": bundle([1536] * 2, blocks=[]),
    "a bundle of unknown dtype": bundle([1536] * 2, dtype="F33"),
    "a bundle whose part has another dtype": {
        "parts": bundle([3072], dtype="I8")["parts"],
        "buffers": bundle([3072])["buffers"],
    },
    "a bundle with an empty buffer": bundle([3072, 0]),
    "a bundle with a long buffer": bundle([2**15]),
    "a bundle of too many buffers": bundle([1] * (2**14 + 1)),
    "a bundle of too many bytes": bundle([2**14] * 65),
    "a bundle of more than its part": bundle([1536] * 3, blocks=[1536] * 2),
    "a bundle of less than its part": bundle([1536], blocks=[1536] * 2),
    "a bundle with an empty block": bundle([1536] * 2, blocks=[3072, 0]),
    "a bundle with a block that ends in a buffer": bundle([1536] * 2, blocks=[1000, 2072]),
    "a bundle with a block too long for a buffer": bundle([4, 4101]),
    "a bundle with a block that grew": bundle([1536] * 2, lengths=[3073]),
    "a bundle with more lengths than blocks": bundle([1536] * 2, lengths=[3072, 0]),
    "a bundle with half a number": {**bundle([3072]), "buffers": [["U8", bytes(32), bytes(6)]]},
    "a bundle with half a digest": {
        **bundle([1536] * 2),
        "buffers": [["U8", bytes(63), struct.pack("<2I", 1536, 1536)]],
    },
    "a bundle with a list of lengths": part(RAW, "U8", 3072, struct.pack("<I", 3072), [3072]),
    "a bundle with text for digests": {
        **bundle([3072]),
        "buffers": [["U8", "a" * 32, struct.pack("<I", 3072)]],
    },
}


@pytest.mark.parametrize("what", WRONG_ROWS)
def test_payload_that_lies_is_refused(tmp_path: Path, what: str) -> None:
    refuse(tmp_path, pack_of(DATA, [row(DATA, **WRONG_ROWS[what])]))


DEEP = b"\x91" * 100_000 + b"\xc0"
RIGHT = msgpack.packb([NAMES, [row(DATA)]])
WRONG_DIRECTORIES: dict[str, bytes] = {
    "nothing": b"",
    "a number": b"\x05",
    "a map": msgpack.packb({"names": NAMES, "payloads": []}),
    "three values": msgpack.packb([NAMES, [row(DATA)], 5]),
    "no names": msgpack.packb([[], [row(DATA)]]),
    "names that are no pairs": msgpack.packb([["dense", "raw"], [row(DATA)]]),
    "names that are no text": msgpack.packb([[[b"dense", b"x"], [b"raw", b"x"]], [row(DATA)]]),
    "names in a map": msgpack.packb([{"ab": 1}, [row(DATA)]]),
    "rows in a map": msgpack.packb([NAMES, {"a": row(DATA)}]),
    "a row that is a map": msgpack.packb([NAMES, [{"a": 1}]]),
    "a row that is text": msgpack.packb([NAMES, ["x" * 100]]),
    "a short row": msgpack.packb([NAMES, [row(DATA)[:-1]]]),
    "a long row": msgpack.packb([NAMES, [[*row(DATA), 5]]]),
    "more after it": RIGHT + b"\0",
    "another after it": RIGHT * 2,
    "nested": DEEP,
    "nested names": b"\x92" + DEEP,
    "nested payloads": b"\x92\x90" + DEEP,
    "a nested row": msgpack.packb([NAMES, []])[:-1] + b"\x91\x98\xcd\x0c\x00" + DEEP,
    "nested parts": msgpack.packb([NAMES, [row(DATA)]]).replace(
        msgpack.packb([[RAW, "U8", 3072, 2048, SIZES]]), b"\x91" * 500 + b"\xc0"
    ),
    "four billion payloads": b"\x92\x90\xdd\xff\xff\xff\xff",
    "four billion names": b"\x92\xdd\xff\xff\xff\xff",
    "four gigabytes of text": b"\x92\x91\x92\xdb\xff\xff\xff\xff",
    "an extension type": b"\x92\x90\x91\xc7\x60\x05" + bytes(96),
    "a broken time": b"\x92\x91\xd7\xff" + b"\xff" * 8 + b"\x90",
    "text that is no text": RIGHT.replace(b"dense", b"den\xff\xff"),
    "names of a megabyte": msgpack.packb([[*NAMES, ["x", "y" * MIB]], [row(DATA)]]),
    "two rows for one payload": msgpack.packb([NAMES, [row(DATA)] * 2]),
    "empty rows": b"\x92\x90\xdd" + struct.pack(">I", 10**6) + b"\x90" * 10**6,
}


@pytest.mark.parametrize("what", WRONG_DIRECTORIES)
def test_directory_that_is_none_is_refused(tmp_path: Path, what: str) -> None:
    assert WRONG_DIRECTORIES[what] != RIGHT
    refuse(tmp_path, pack_with(DATA, WRONG_DIRECTORIES[what]), 4 * MIB)


@pytest.mark.parametrize(
    "start", [0, 7, 9, 8 + len(DATA) - 1, 8 + len(DATA) + 1, 10**10, 2**64 - 1]
)
def test_directory_somewhere_else_is_refused(tmp_path: Path, start: int) -> None:
    refuse(tmp_path, pack_with(DATA, RIGHT, start=start))


@pytest.mark.parametrize("claim", [0, 1, len(RIGHT) + 1, MAX_DIRECTORY, 10**10, 2**64 - 1])
def test_directory_that_claims_another_length_is_refused(tmp_path: Path, claim: int) -> None:
    refuse(tmp_path, pack_with(DATA, RIGHT, claim=claim))


def test_bombs_of_values_are_bounded(tmp_path: Path) -> None:
    """What takes a byte in a file may take fifty in memory: rows are not looked into at first."""
    size = MAX_DIRECTORY - 100
    bombs = [
        b"\x92\x90\xdd" + struct.pack(">I", size) + b"\x90" * size,
        b"\x92\x90\x91\x98\x00\xdd" + struct.pack(">I", size) + b"\x90" * size,
        b"\x92\xdd" + struct.pack(">I", size) + b"\x80" * size,
    ]
    for bomb in bombs:
        frame = zstandard.ZstdCompressor(level=1).compress(bomb)
        assert len(frame) < MIB
        refuse(tmp_path, pack_around(b"", frame, len(bomb)), 4 * MAX_DIRECTORY)


@pytest.mark.parametrize("content", [b"", RIGHT])
def test_frame_that_lies_about_its_length_is_refused(tmp_path: Path, content: bytes) -> None:
    unknown = zstandard.ZstdCompressor(write_content_size=False).compress(content)
    twice = ZSTD.compress(content) * 2
    for frame in (unknown, twice, b"", content, b"\x50\x2a\x4d\x18" + struct.pack("<I", 0)):
        refuse(tmp_path, pack_around(DATA, frame, len(content)))


def store_sample(folder: Path) -> bytes:
    """The bytes of a pack of ours: planes, raw blocks, several buffers in a payload."""
    buffers = [weights("F32", 40_000, seed=1), weights("BF16", 40_000, seed=2), DATA]
    wanted = [
        Wanted(((BufferId(dtype, digest(data)), len(data)),), BytesSource(data))
        for dtype, data in zip(("F32", "BF16", "U8"), buffers, strict=True)
    ]
    small = [weights("F32", 400 + n * 4, seed=n) for n in range(20)]
    together = tuple((BufferId("F32", digest(data)), len(data)) for data in small)
    blocks = (sum(map(len, small[:10])), sum(map(len, small[10:])))
    wanted.append(Wanted(together, BytesSource(b"".join(small)), blocks=blocks))
    with LocalStore(folder) as store:
        store_buffers(store, PLUGINS, wanted)
        (name,) = store.packs.packs()
        return store.packs.path(name).read_bytes()


def check_whole(path: Path) -> None:
    """Read everything of a pack; wrong bytes are fine here, other exceptions are not."""
    with Pack(path) as pack:
        for number in range(len(pack)):
            payload = pack.payload(number)
            with LocalStore(path.parent / "empty") as store:
                source = Reader(store, PLUGINS).open_payload(pack, payload)
            at = 0
            for _, nbytes in payload.buffers:
                source.read(at, nbytes)
                at += nbytes
            source.read(0, source.size)
            source.read(0, source.size)


@pytest.mark.parametrize("make", [truncations, damaged])
def test_damaged_packs_are_refused_or_read(tmp_path: Path, make: Callable[..., Any]) -> None:
    path = tmp_path / ("a" * 64)
    sample = store_sample(tmp_path / "store")
    refused = 0
    for what, data in make(sample):
        path.write_bytes(data)
        try:
            with at_most(8 * MIB, what):
                check_whole(path)
        except ThetaError:
            refused += 1
    assert refused > 10


def test_every_flipped_byte_is_found_by_fsck(tmp_path: Path) -> None:
    sample = store_sample(tmp_path / "store")
    with LocalStore(tmp_path / "store") as store:
        (name,) = store.packs.packs()
        path = store.packs.path(name)
        path.chmod(0o644)
        assert list(verify_packs(store, PLUGINS)) == []
        for at in [*range(0, 8), *range(8, len(sample), len(sample) // 40), *range(-60, 0, 3)]:
            copy = bytearray(sample)
            copy[at] ^= 0x10
            path.write_bytes(copy)
            problems = list(verify_packs_afresh(tmp_path / "store"))
            assert any(name in problem.where for problem in problems), at


def verify_packs_afresh(folder: Path) -> list[Any]:
    with LocalStore(folder) as store:
        return list(verify_packs(store, PLUGINS))


BLOCK = weights("F32", 4096)


def planes_of(*planes: tuple[bytes, bool]) -> bytes:
    """A block whose planes are given, each with whether it says that it is compressed."""
    header = [len(data) | (packed << 31) for data, packed in planes]
    return struct.pack(f"<{len(planes)}I", *header) + b"".join(data for data, _ in planes)


BOMB = ZSTD.compress(bytes(256 * MIB))
PLANE = ZSTD.compress(bytes(1024))
SHORT = ZSTD.compress(bytes(1023))
NO_SIZE = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1024))
OK = (bytes(1024), False)
WRONG_BLOCKS = {
    "nothing": b"",
    "a short header": bytes(15),
    "planes of nothing": planes_of(*[(b"", False)] * 4),
    "a short plane": planes_of(OK, OK, OK, (bytes(1023), False)),
    "a long plane": planes_of(OK, OK, OK, (bytes(1025), False)),
    "a plane that is not there": planes_of(OK, OK, OK, OK)[:-1],
    "more after it": planes_of(OK, OK, OK, OK) + b"\0",
    "a length of two gigabytes": struct.pack("<4I", 1024, 1024, 1024, 2**31 - 1) + bytes(4096),
    "a frame of two gigabytes": struct.pack("<4I", 1024, 1024, 1024, 2**32 - 1) + bytes(4096),
    "a bomb": planes_of(OK, OK, OK, (BOMB, True)),
    "a bomb first": planes_of((BOMB, True), OK, OK, OK),
    "a frame that is too short": planes_of(OK, OK, OK, (SHORT, True)),
    "a frame without its length": planes_of(OK, OK, OK, (NO_SIZE, True)),
    "two frames": planes_of(OK, OK, OK, (PLANE * 2, True)),
    "a frame with a tail": planes_of(OK, OK, OK, (PLANE + b"\0", True)),
    "a frame that is cut": planes_of(OK, OK, OK, (PLANE[:-1], True)),
    "no frame": planes_of(OK, OK, OK, (bytes(9), True)),
    "an empty frame": planes_of(OK, OK, OK, (b"", True)),
    "a skippable frame": planes_of(
        OK, OK, OK, (b"\x50\x2a\x4d\x18" + struct.pack("<I", 1024) + bytes(1024), True)
    ),
    "a frame that claims more than it has": planes_of(
        OK, OK, OK, (PLANE[:5] + b"\xff\xff" + PLANE[7:], True)
    ),
}


@pytest.mark.parametrize("what", WRONG_BLOCKS)
def test_block_that_lies_is_refused(what: str) -> None:
    block = WRONG_BLOCKS[what]
    good = planes_of(OK, OK, OK, (PLANE, True))
    data, lengths = good + block + good, [len(good), len(block), len(good)]
    with at_most(2 * MIB, "decoding a block"), pytest.raises(PackError):
        Planes().decode(block, "F32", 4096)
    if what in ("two frames", "a frame with a tail"):
        return  # among many frames a tail is not looked at: the digest tells
    with at_most(2 * MIB, "decoding blocks"), pytest.raises(PackError):
        Planes().decode_blocks(data, lengths, [4096] * 3, "F32")


@settings(max_examples=200)
@given(st.binary(max_size=200), st.integers(0, 300), st.sampled_from(["F32", "U8", "F64", "F4"]))
def test_noise_is_no_block(data: bytes, nbytes: int, dtype: str) -> None:
    for block in (data, planes_of(*[(data, True)] * 4), planes_of(*[(data, False)] * 4)):
        try:
            found = Planes().decode(block, dtype, nbytes)
        except PackError:
            continue
        assert len(found) == nbytes


PATCHES = {
    "a bomb": BOMB,
    "noise": b"\xff" * 100,
    "nothing": b"",
    "bytes without the base": ZSTD.compress(DATA)[:-1],
    "more than was said": ZSTD.compress(DATA + b"x"),
}


@pytest.mark.parametrize("what", PATCHES)
def test_patch_that_lies_is_refused(tmp_path: Path, what: str) -> None:
    base, patch = b"base" * 100, PATCHES[what]
    lengths = [len(patch[at : at + 2**16]) for at in range(0, len(patch), 2**16)]
    rows = [
        row(base),
        row(
            DATA,
            patch,
            update=PATCH,
            depth=2,
            cost=len(patch) + len(base),
            bases=[["U8", digest(base)]],
            parts=[[RAW, "U8", len(patch), 2**16, lengths]],
        ),
    ]
    name = put(tmp_path, pack_of(base + patch, rows))
    with LocalStore(tmp_path) as store:
        assert not store.damaged
        with at_most(4 * MIB, "reading a patch"), pytest.raises(PackError, match=name):
            read(store, DATA)
        assert read(store, base) == base
        assert len(list(verify_packs(store, PLUGINS))) == 1


def based(data: bytes, base: bytes, depth: int, tail: bytes = b"") -> bytes:
    """A pack that tells one buffer in terms of another; ``tail`` makes the pack another one."""
    patch = ZSTD.compress(data) + tail
    changes = {"update": PATCH, "depth": depth, "cost": len(patch) + 1}
    lengths = [len(patch)]
    parts = [[RAW, "U8", len(patch), 2048, lengths]]
    return pack_of(patch, [row(data, patch, bases=[["U8", digest(base)]], parts=parts, **changes)])


A, B = b"the buffer A", b"the buffer B"


@pytest.mark.parametrize("depths", [(2, 2), (8, 8), (2, 8), (8, 7)])
def test_buffers_that_stand_on_each_other_end(tmp_path: Path, depths: tuple[int, int]) -> None:
    put(tmp_path, based(A, B, depths[0]))
    put(tmp_path, based(B, A, depths[1]))
    put(tmp_path, based(A, A, depths[0]))
    with LocalStore(tmp_path) as store:
        assert not store.damaged
        for data in (A, B):
            with pytest.raises(ThetaError, match="only in terms of one another"):
                read(store, data)
        assert len(list(verify_packs(store, PLUGINS))) == 3
        put(tmp_path, pack_of(B, [row(B)]))
        store.refresh()
        assert (read(store, B), read(store, A)) == (B, A)


@pytest.mark.parametrize("depth", [2, 8])
def test_file_is_stored_where_the_store_only_claims_to_have_it(tmp_path: Path, depth: int) -> None:
    files = [b"a file that no format knows" * 10, b"its next version" * 20]
    first, second = (bytes(12) + file for file in files)  # an empty table, then the file
    put(tmp_path, based(first, second, depth))
    put(tmp_path, based(second, first, depth))
    with LocalStore(tmp_path) as store:
        versions: list[bytes] = []
        for file in files:
            cleaned = clean(
                Cleaning(
                    BytesSource(file),
                    "x",
                    digest(file),
                    store=store,
                    plugins=PLUGINS,
                    versions=versions,
                )
            )
            metadata = parse(cleaned.text)
            rebuilt = rebuild(metadata, "x", store=store, plugins=PLUGINS)
            assert b"".join(map(bytes, content(rebuilt))) == file
            lies = metadata._replace(skeleton=Skeleton(digest(first), len(first), 0))
            versions = [print_metadata(lies)]


def test_depth_that_lies_is_only_a_hint_and_ends(tmp_path: Path) -> None:
    """Payloads that each say depth two, on top of each other; the last stands on too many."""
    buffers = [bytes([n]) * 10 for n in range(MAX_READS + 1)]
    for data, base in zip(buffers[1:], buffers[:-1], strict=True):
        put(tmp_path, based(data, base, 2))
    put(tmp_path, pack_of(buffers[0], [row(buffers[0])]))
    with LocalStore(tmp_path) as store:
        for data in buffers[:-1]:
            assert read(store, data) == data
        with pytest.raises(ThetaError, match=f"more than {MAX_READS} payloads"):
            read(store, buffers[-1])


def test_many_ways_that_lead_nowhere_are_tried_once(tmp_path: Path) -> None:
    """Eight buffers, each told by twelve payloads in terms of the next: 12^8 ways."""
    buffers = [bytes([n]) * 10 for n in range(9)]
    for depth in range(8, 1, -1):
        for copy in range(12):
            data, base = buffers[8 - depth], buffers[9 - depth]
            put(tmp_path, based(data, base, depth, bytes([copy])))
    with LocalStore(tmp_path) as store:
        assert len(store.find([BufferId("U8", digest(buffers[0]))])) == 1
        with pytest.raises(ThetaError, match="No pack in the store"):
            read(store, buffers[0])


def test_claims_beyond_the_file_reserve_nothing(tmp_path: Path) -> None:
    """A gigabyte of claimed numbers behind a few stored bytes."""
    blocks = [[PLANES, "U8", 2**30, 8 * MIB, [8] * 128]]
    data = pack_of(
        bytes(1024),
        [row(b"", bytes(1024), parts=blocks, buffers=[["U8", digest(DATA), 2**30]])],
    )
    put(tmp_path, data)
    with LocalStore(tmp_path) as store:
        source = Reader(store, PLUGINS).open(BufferId("U8", digest(DATA)))
        assert source.size == 2**30
        with at_most(MIB, "a read of what is not there"), pytest.raises(PackError):
            source.read(0, 2**30)


def test_serializer_of_no_plugin_is_named_and_not_loaded(tmp_path: Path) -> None:
    names = [["dense", KERNEL], ["os.system", "some-distribution"]]
    put(tmp_path, pack_of(DATA, [row(DATA)], names=names))
    with LocalStore(tmp_path) as store, pytest.raises(ThetaError) as caught:
        read(store, DATA)
    assert "serializer 'os.system'" in str(caught.value)
    assert "The file says that some-distribution offers it" in caught.value.remedy


@pytest.mark.parametrize("name", ["../raw", "raw\n", "", "r" * 129, "-r", "räw", "\x1b[2J", "a b"])
def test_names_that_could_deceive_in_a_message_are_refused(tmp_path: Path, name: str) -> None:
    for names in ([["dense", KERNEL], [name, KERNEL]], [["dense", KERNEL], ["raw", name]]):
        refuse(tmp_path, pack_of(DATA, [row(DATA)], names=names))
