"""Packs come back as they were written, named by their bytes."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from git_theta.dtypes import BITS
from git_theta.errors import PackError, StoreError
from git_theta.storage import pack as pack_module
from git_theta.storage.pack import Pack, PackWriter
from git_theta.storage.payload import MAX_RECORD, BufferId, Payload, StoredPart

KERNEL = "git-theta-core"
WORDS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,9}", fullmatch=True)

Rows = list[tuple[str, str, bytes, int, bytes]]


@st.composite
def payloads(draw: st.DrawFn) -> tuple[str, str, bytes, int, bytes]:
    """Update type, serializer, params, depth, bytes."""
    return (
        draw(WORDS),
        draw(WORDS),
        draw(st.binary(max_size=50)),
        draw(st.integers(1, 8)),
        draw(st.binary(min_size=1, max_size=5000)),
    )


def write(folder: Path, rows: Rows) -> tuple[Path, list[Payload]]:
    """A pack of payloads of raw bytes; its file, and what it should say."""
    out, at, expected = io.BytesIO(), 8, []
    writer = PackWriter(out)
    for update, serializer, params, depth, data in rows:
        blocks = [data[n : n + 2048] for n in range(0, len(data), 2048)]
        dtype = sorted(BITS)[len(data) % len(BITS)]
        digest = blake3(data).digest()
        base = [["U8", digest]] if depth > 1 else []
        part = [writer.name(serializer, KERNEL), dtype, len(data), 2048, [len(b) for b in blocks]]
        row = [
            writer.name(update, "them"),
            params,
            depth,
            len(data) + 9 * (depth > 1),
            base,
            [part],
        ]
        for block in blocks:
            writer.write(block)
        number = writer.end_payload([*row, [[dtype, digest, len(data)]]], len(data))
        assert number == len(expected)
        expected.append(
            Payload(
                at,
                len(data),
                (update, "them"),
                params,
                depth,
                row[3],
                tuple(BufferId(*b) for b in base),
                (
                    StoredPart(
                        (serializer, KERNEL), dtype, len(data), 2048, tuple(map(len, blocks))
                    ),
                ),
                ((BufferId(dtype, digest), len(data)),),
            )
        )
        at += len(data)
    name = writer.finish()
    assert name == hashlib.sha256(out.getvalue()).hexdigest()
    assert writer.nbytes == len(out.getvalue())
    path = folder / name
    path.write_bytes(out.getvalue())
    return path, expected


@given(rows=st.lists(payloads(), max_size=6))
def test_payloads_come_back(rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> None:
    path, expected = write(tmp_path_factory.mktemp("packs"), rows)
    with Pack(path) as pack:
        assert len(pack) == len(rows)
        assert [pack.payload(number) for number in range(len(pack))] == expected
        assert [bytes(pack.file.read(p.start, p.nbytes)) for p in expected] == [r[4] for r in rows]
        assert list(pack.buffers()) == [
            (number, 0, payload.depth, payload.buffers[0][0])
            for number, payload in enumerate(expected)
        ]
        for number in (-1, len(rows)):
            with pytest.raises(PackError, match=f"has {len(rows)} payloads"):
                pack.payload(number)


def test_same_payloads_give_the_same_pack(tmp_path: Path) -> None:
    rows = [("dense", "raw", b"", 1, b"a" * 5000), ("patch", "raw", b"p", 3, b"b")]
    assert write(tmp_path, rows) == write(tmp_path, rows)


def test_pack_begins_and_ends_as_specified(tmp_path: Path) -> None:
    path, _ = write(tmp_path, [("dense", "raw", b"", 1, b"numbers")])
    data = path.read_bytes()
    assert data[:15] == b"GTHPACK1numbers"
    assert data[-8:] == b"GTHPEND1"
    start, nbytes = (int.from_bytes(data[at : at + 8], "little") for at in (-56, -48))
    assert start == 15
    assert nbytes == len(pack_module.decompress(data[15:-56], nbytes))
    assert blake3(data[15:-56]).digest() == data[-40:-8]


def test_error_names_the_pack_and_what_to_do(tmp_path: Path) -> None:
    path, _ = write(tmp_path, [("dense", "raw", b"", 1, b"numbers")])
    damaged = tmp_path / ("0" * 64)
    damaged.write_bytes(path.read_bytes()[:-70] + bytes(14) + path.read_bytes()[-56:])
    with Pack(damaged) as pack, pytest.raises(PackError) as caught:
        len(pack)
    assert f"Pack {'0' * 64} has a directory that does not match its digest" in str(caught.value)
    assert "git theta fsck" in caught.value.remedy


def test_payload_that_no_reader_would_take_is_not_written() -> None:
    writer = PackWriter(io.BytesIO())
    with pytest.raises(StoreError, match="too many blocks"):
        writer.end_payload([0, b"", 1, 0, [], [[0, "U8", 0, 2048, [1] * MAX_RECORD]], []], 0)


def test_closed_pack_is_closed_once(tmp_path: Path) -> None:
    path, _ = write(tmp_path, [])
    pack = Pack(path)
    assert len(pack) == 0
    pack.close()
    pack.close()
