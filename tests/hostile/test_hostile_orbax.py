"""Hostile Orbax folders: lies of zarr's metadata, of OCDBT's manifest and of its nodes.

The files are made by hand, without tensorstore.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_ocdbt import NAMES, NODE, Outside, interior, leaf, manifest, number, sealed

from git_theta.checkpoint import Layout, check_layout
from git_theta.errors import CheckpointError, FormatMismatch, LimitExceeded
from git_theta.formats.detect import Context, detect
from git_theta.plugins import installed
from git_theta.source import BytesSource, Source
from git_theta.testing.hostile import attempt
from git_theta.testing.memory import at_most
from theta_flax.ocdbt import tree
from theta_flax.ocdbt.format import Ocdbt
from theta_flax.zarr.format import Zarr

MIB = 2**20
RAW = bytes(range(24))


def context(path: str, files: Mapping[str, bytes]) -> Context:
    def open_sibling(name: str) -> Source | None:
        return BytesSource(files[name]) if name in files else None

    return Context(installed(), path, open_sibling)


def scan(path: str, files: Mapping[str, bytes]) -> Layout:
    format = Zarr() if path.startswith("x/") else Ocdbt()
    assert format.matches(files[path], path)
    layout = format.scan(BytesSource(files[path]), context(path, files))
    check_layout(layout, len(files[path]))
    return layout


def names(layout: Layout) -> list[str]:
    return [tensor.name for tensor in layout.tensors]


# ---- zarr ----------------------------------------------------------------------------------------


def zarr2(**changes: Any) -> bytes:
    said = {"zarr_format": 2, "shape": [2, 3], "chunks": [2, 3], "dtype": "<f4", "order": "C"}
    return json.dumps({**said, "compressor": None, "filters": None, **changes}).encode()


def zarr3(shard: Mapping[str, Any] | None = None, **changes: Any) -> bytes:
    codecs: list[Any] = [{"name": "bytes", "configuration": {"endian": "little"}}]
    table = [*codecs, {"name": "crc32c"}]
    options = {"chunk_shape": [1, 3], "codecs": codecs, "index_codecs": table}
    said = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [2, 3],
        "data_type": "float32",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 3]}},
        "chunk_key_encoding": {"name": "default"},
        "codecs": [{"name": "sharding_indexed", "configuration": {**options, **(shard or {})}}],
    }
    return json.dumps({**said, **changes}).encode()


def sharded(*entries: tuple[int, int], crc: int | None = None) -> bytes:
    table = b"".join(struct.pack("<QQ", *entry) for entry in entries)
    crc = google_crc32c.value(table) if crc is None else crc
    return RAW + table + struct.pack("<I", crc)


def read2(data: bytes = RAW, key: str = "0.0", **changes: Any) -> Layout:
    return scan(f"x/w/{key}", {f"x/w/{key}": data, "x/w/.zarray": zarr2(**changes)})


def read3(data: bytes, shard: Mapping[str, Any] | None = None, **changes: Any) -> Layout:
    files = {"x/w/c/0/0": data, "x/w/zarr.json": zarr3(shard, **changes)}
    return scan("x/w/c/0/0", files)


def test_the_honest_chunk_is_read() -> None:
    assert [tensor[:3] for tensor in read2().tensors] == [("w", "F32", (2, 3))]
    assert names(read3(sharded((0, 12), (12, 12)))) == ["w[0,0]", "w[1,0]"]
    assert names(read3(sharded((2**64 - 1, 2**64 - 1), (0, 12)))) == ["w[1,0]"]


def test_chunks_that_reach_beyond_the_array_are_cropped() -> None:
    layout = read2(key="1.0", shape=[3, 2], chunks=[2, 3])
    assert [tensor[:3] for tensor in layout.tensors] == [("w[1,0]", "F32", (1, 2))]
    assert layout.tensors[0].strides == (3, 1)
    assert read2(key="7.0").tensors == ()
    assert [tensor.shape for tensor in read2(shape=[1, 3], chunks=[2, 3]).tensors] == [(1, 3)]


def test_numbers_of_the_other_byte_order_are_told_so() -> None:
    assert read2(dtype=">f4").buffers[0].big_endian
    assert not read2(dtype=">u1", chunks=[2, 12], shape=[2, 12]).buffers[0].big_endian


PACKED = {
    "compressed": {"compressor": {"id": "blosc"}},
    "filtered": {"filters": [{"id": "delta"}]},
    "column-major": {"order": "F"},
    "of texts": {"dtype": "<U6"},
    "of records": {"dtype": [["a", "<f4"]]},
    "of int4": {"dtype": "int4"},
}


@pytest.mark.parametrize("how", PACKED)
def test_chunks_that_are_not_plain_numbers_are_refused(how: str) -> None:
    with pytest.raises(CheckpointError, match="numbers of 'w'") as caught:
        read2(**PACKED[how])
    assert "use_compression=False" in caught.value.remedy
    codecs = [{"name": "bytes"}, {"name": "crc32c"}]
    with pytest.raises(CheckpointError, match=r"numbers of 'w'.*packed \(crc32c\)"):
        read3(sharded((0, 12), (12, 12)), {"codecs": codecs})


LIES: dict[str, dict[str, Any]] = {
    "more rows": {"chunks": [3, 3]},
    "a huge chunk": {"chunks": [2**61, 2**61]},
    "another rank": {"chunks": [6]},
    "no extents": {"chunks": [0, 3]},
    "negative extents": {"shape": [-2, 3]},
    "extents of text": {"shape": ["2", 3]},
    "huge extents": {"shape": [2**63, 3]},
    "truth as an extent": {"shape": [True, 3]},
    "many dimensions": {"shape": [1] * 65, "chunks": [1] * 65},
    "no compressor told": {"compressor": 5},
    "version 3": {"zarr_format": 3},
    "another separator": {"dimension_separator": ".*"},
}


@pytest.mark.parametrize("what", LIES)
def test_metadata_that_contradicts_the_chunk_is_refused(what: str) -> None:
    with at_most(MIB, what), pytest.raises(CheckpointError) as caught:
        read2(**LIES[what])
    assert not isinstance(caught.value, FormatMismatch)


SHARDS = {
    "a table with another checksum": sharded((0, 12), (12, 12), crc=7),
    "a chunk behind the shard": sharded((0, 12), (100, 12)),
    "a chunk in the table": sharded((0, 12), (55, 12)),
    "a long chunk": sharded((0, 12), (12, 13)),
    "a huge chunk": sharded((0, 12), (12, 2**63)),
    "chunks that overlap": sharded((0, 12), (6, 12)),
    "half a missing chunk": sharded((0, 12), (2**64 - 1, 12)),
    "no table": b"short",
}


@pytest.mark.parametrize("what", SHARDS)
def test_shards_that_contradict_themselves_are_refused(what: str) -> None:
    with at_most(MIB, what), pytest.raises(CheckpointError):
        read3(SHARDS[what])


SHARD_OPTIONS: dict[str, dict[str, Any]] = {
    "chunks that do not divide it": {"chunk_shape": [2, 2]},
    "a packed table": {"index_codecs": [{"name": "bytes"}, {"name": "zstd"}]},
    "a table in the middle": {"index_location": "middle"},
    "no codecs": {"codecs": []},
}


@pytest.mark.parametrize("what", SHARD_OPTIONS)
def test_shards_that_we_do_not_know_are_refused(what: str) -> None:
    with pytest.raises(CheckpointError):
        read3(sharded((0, 12), (12, 12)), SHARD_OPTIONS[what])


def test_a_shard_of_countless_chunks_is_refused_before_they_are_counted() -> None:
    grid = {"name": "regular", "configuration": {"chunk_shape": [2**40, 2**20]}}
    with at_most(MIB, "a shard"), pytest.raises(LimitExceeded):
        read3(sharded((0, 12)), {"chunk_shape": [1, 1]}, chunk_grid=grid)


@pytest.mark.parametrize(
    "text", [b"", b"[" * 100_000, b"{}", b"5", b"\xff", b'{"zarr_format": 2, "dtype": null}']
)
def test_metadata_that_is_none_is_refused(text: bytes) -> None:
    with pytest.raises(CheckpointError):
        scan("x/w/0.0", {"x/w/0.0": RAW, "x/w/.zarray": text})
    with pytest.raises(CheckpointError):
        scan("x/w/c/0/0", {"x/w/c/0/0": RAW, "x/w/zarr.json": text})


def test_metadata_of_many_bytes_is_not_read() -> None:
    with pytest.raises(LimitExceeded):
        scan("x/w/0.0", {"x/w/0.0": RAW, "x/w/.zarray": zarr2() + b" " * 2**17})


@pytest.mark.parametrize("path", ["x/w/0.0", "x/0", "x/w/c/0/0", "x/w/c"])
def test_files_that_are_called_as_chunks_are_may_be_anything(path: str) -> None:
    with pytest.raises(FormatMismatch):
        scan(path, {path: RAW})
    found = detect(BytesSource(RAW), path, installed(), lambda _: None)
    assert (found.formats, found.warning) == (("unknown",), "")


# ---- OCDBT ---------------------------------------------------------------------------------------

META = {b"w/.zarray": zarr2()}
PATH = f"s/{NAMES[0]}"


def store(values: dict[bytes, bytes | Outside], *, root: bytes = b"", head: bytes = b"") -> Any:
    """A store whose first data file has numbers and then a node, and its second one more."""
    node = root or sealed(NODE, leaf(values), packed=True)
    first = head or manifest(Outside(0, len(node), 1))
    return {"s/manifest.ocdbt": first, PATH: RAW + bytes(40), f"s/{NAMES[1]}": node}


def read(values: dict[bytes, bytes | Outside], **made: bytes) -> Layout:
    return scan(PATH, store(values, **made))


def test_the_honest_store_is_read() -> None:
    layout = read({**META, b"w/0.0": Outside(0, 24), b"note": b"kept"})
    assert [tensor[:3] for tensor in layout.tensors] == [("w", "F32", (2, 3))]
    assert layout.buffers[0].start == 0


def test_values_of_other_files_and_inside_nodes_are_no_groups() -> None:
    assert read({**META, b"w/0.0": Outside(0, 24, 1)}) == Layout()
    assert read({**META, b"w/0.0": RAW}) == Layout()
    assert read({b"w/0.0": Outside(0, 24)}) == Layout()


def test_trees_are_walked_with_the_prefixes_of_their_nodes() -> None:
    low = sealed(NODE, leaf({b".zarray": zarr2(), b"0.0": Outside(8, 24)}))
    top = sealed(NODE, interior(1, {b"deep/w/": Outside(0, len(low), 2)}))
    files = store({}, root=top, head=manifest(Outside(0, len(top), 1), 1))
    assert names(scan(PATH, {**files, f"s/{NAMES[2]}": low})) == ["deep/w"]


VALUES: dict[str, dict[bytes, bytes | Outside]] = {
    "a value behind the file": {**META, b"w/0.0": Outside(60, 24)},
    "a long value": {**META, b"w/0.0": Outside(0, 25)},
    "a value of 8 EiB": {**META, b"w/0.0": Outside(0, 2**63)},
    "a value far away": {**META, b"w/0.0": Outside(2**63, 24)},
    "two values in one place": {**META, b"w/0.0": Outside(0, 24), b"v/0.0": Outside(0, 24),
                                b"v/.zarray": zarr2()},
    "a file that is not named": {**META, b"w/0.0": Outside(0, 24, 9)},
    "metadata in a lost file": {b"w/.zarray": Outside(0, 24, 3)},
    "metadata that is none": {b"w/.zarray": b"{"},
}  # fmt: skip


@pytest.mark.parametrize("what", VALUES)
def test_values_that_are_not_there_are_refused(what: str) -> None:
    with at_most(MIB, what), pytest.raises(CheckpointError) as caught:
        read(VALUES[what])
    assert not isinstance(caught.value, FormatMismatch)


HONEST = leaf({**META, b"w/0.0": Outside(0, 24)})
COUNTLESS = b"\0\0" + number(2**40)
NODES = {
    "another checksum": sealed(NODE, HONEST)[:-1] + b"\0",
    "another magic": sealed(5, HONEST),
    "another version": sealed(NODE, HONEST, version=1),
    "another height": sealed(NODE, b"\x01" + HONEST[1:]),
    "bytes behind its end": sealed(NODE, HONEST + b"\0"),
    "too few bytes": sealed(NODE, HONEST[:-1]),
    "countless keys": sealed(NODE, COUNTLESS),
    "countless files": sealed(NODE, b"\0" + number(2**40)),
    "a number without an end": sealed(NODE, b"\0" + b"\xff" * 11),
    "no zstd": sealed(NODE, HONEST)[:13] + b"\x01" + sealed(NODE, HONEST)[14:],
    "128 MiB of zeros": sealed(NODE, bytes(2**27), packed=True),
    "nothing": b"",
}


@pytest.mark.parametrize("what", NODES)
def test_nodes_that_lie_are_refused(what: str) -> None:
    files = store({}, root=NODES[what] or b"\0")
    with at_most(80 * MIB, what), pytest.raises(CheckpointError):
        scan(PATH, files)


def test_keys_that_share_more_than_there_is_are_refused() -> None:
    files, count = b"\0", number(2)
    shared = number(5) + number(1) + number(1) + b"ab"
    rest = number(0) * 2 + number(0) * 2
    with pytest.raises(CheckpointError, match="share no more"):
        read({}, root=sealed(NODE, b"\0" + files + count + shared + rest))


def test_keys_that_unfold_to_gigabytes_are_refused() -> None:
    count, length = 2_000, 60_000
    lengths = number(length) * (count - 1) + number(length) + number(1) * (count - 1)
    body = b"\0\0" + number(count) + lengths + b"k" * (length + count - 1)
    with at_most(80 * MIB, "keys"), pytest.raises(CheckpointError, match="keys of at most"):
        read({}, root=sealed(NODE, body, packed=True))


def test_a_tree_that_loops_or_fans_out_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    itself = sealed(NODE, interior(1, {b"a": Outside(0, 200, 1)}))
    loop = store({}, root=itself, head=manifest(Outside(0, len(itself), 1), 1))
    with pytest.raises(CheckpointError):
        scan(PATH, loop)
    monkeypatch.setattr(tree, "MAX_NODES", 50)
    low = sealed(NODE, leaf({**META}))
    files = {"s/manifest.ocdbt": b"", PATH: RAW, f"s/{NAMES[1]}": low}
    for height in range(1, 10):  # ten children each, all of them one node
        start = len(files[f"s/{NAMES[1]}"]) - len(low)
        child = Outside(start, len(low), 1)
        low = sealed(NODE, interior(height, {bytes((n,)): child for n in range(65, 75)}))
        files[f"s/{NAMES[1]}"] += low
    start = len(files[f"s/{NAMES[1]}"]) - len(low)
    files["s/manifest.ocdbt"] = manifest(Outside(start, len(low), 1), 9)
    with at_most(MIB, "a tree"), pytest.raises(LimitExceeded):
        scan(PATH, files)


MANIFESTS = {
    "numbered": manifest(Outside(0, 9, 1), kind=1),
    "high": manifest(Outside(0, 9, 1), 200),
    "cut": manifest(Outside(0, 9, 1))[:40],
    "elsewhere": manifest(Outside(0, 9, 0), paths=["../../secret"]),
    "of a lost file": manifest(Outside(0, 9, 3)),
}


@pytest.mark.parametrize("what", MANIFESTS)
def test_manifests_that_lie_are_refused(what: str) -> None:
    with at_most(MIB, what), pytest.raises(CheckpointError) as caught:
        read({}, head=MANIFESTS[what])
    assert not isinstance(caught.value, FormatMismatch)


@pytest.mark.parametrize("beside", [{}, {"s/manifest.ocdbt": b"text"}, {"s/manifest.ocdbt": b""}])
def test_files_that_are_called_as_data_files_are_may_be_anything(beside: dict[str, bytes]) -> None:
    files = {PATH: RAW, **beside}
    with pytest.raises(FormatMismatch):
        scan(PATH, files)
    found = detect(BytesSource(RAW), PATH, installed(), context(PATH, files).siblings)
    assert (found.formats, found.warning) == (("unknown",), "")


@given(st.binary(max_size=120))
def test_random_nodes_and_metadata_are_refused_or_read(noise: bytes) -> None:
    attempt(lambda: read({}, root=sealed(NODE, noise)), CheckpointError, repr(noise))
    attempt(lambda: read({b"w/.zarray": noise}), CheckpointError, repr(noise))
    attempt(lambda: read3(RAW + noise), CheckpointError, repr(noise))
