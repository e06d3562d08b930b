"""The index of a TensorFlow checkpoint: what it says is checked, and mended when values change."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_bundle import STRING, Made, make_block, make_bundle, make_table, masked

from git_theta.errors import CheckpointError, LimitExceeded
from git_theta.formats.detect import Detected, detect
from git_theta.plugins import installed
from git_theta.source import BytesSource, Source
from git_theta.testing.hostile import attempt
from git_theta.testing.scanning import context_of
from theta_tensorflow.bundle import sstable
from theta_tensorflow.bundle.checksums import masked_of
from theta_tensorflow.bundle.entries import MAX_FIELDS, read_index
from theta_tensorflow.bundle.slices import slice_name
from theta_tensorflow.bundle.sstable import read_table
from theta_tensorflow.checkpoint import TensorFlow

F32 = 1
ONE = {"a": Made(F32, (2,), bytes(8)), "b": Made(F32, (), b"\0\0\x80\x3f")}
DATA, INDEX = "m.data-00000-of-00001", "m.index"


def look(data: bytes, index: bytes | None, name: str = DATA) -> Detected:
    def open_beside(path: str) -> Source | None:
        return BytesSource(index) if path == INDEX and index is not None else None

    return detect(BytesSource(data), name, installed(), open_beside)


def refused(data: bytes, index: bytes | None, name: str = DATA) -> str:
    found = look(data, index, name)
    assert found.formats == ("unknown",)
    assert not found.layout.tensors
    return found.warning


# ---- tables --------------------------------------------------------------------------------------


@given(
    st.dictionaries(st.binary(max_size=40), st.binary(max_size=30), max_size=60),
    st.integers(1, 50),
)
def test_any_table_is_read_as_it_was_written(content: dict[bytes, bytes], per_block: int) -> None:
    entries = sorted(content.items())
    table = read_table(BytesSource(make_table(entries, per_block)))
    found = [(entry.key, table.data[entry.start : entry.end]) for entry in table.entries]
    assert found == entries


def test_mended_tables_have_right_crcs() -> None:
    data = make_table([(b"key%d" % n, b"value%d" % n) for n in range(50)])
    table = read_table(BytesSource(data))
    mended = sstable.mended(table, {table.entries[30].start: b"VALUE"})
    again = read_table(BytesSource(mended))
    assert mended[again.entries[30].start :].startswith(b"VALUE30")
    assert len(mended) == len(data)


def test_tables_that_claim_much_are_refused() -> None:
    wide = make_table([(b"k" * 4090 + b"%d" % n, b"") for n in range(2000)], 2000, 2000)
    with pytest.raises(CheckpointError, match="An index of"):
        read_table(BytesSource(wide))
    many = make_table([(b"", b"\x08\x01"), (b"a", b"\x08\x01" * (MAX_FIELDS + 1))])
    with pytest.raises(CheckpointError, match="too many fields"):
        read_index(BytesSource(many))
    with pytest.raises(CheckpointError, match="Expected an index of"):
        read_table(BytesSource(b"short"))
    packed = bytearray(make_table([(b"", b"x")]))
    end = len(make_block([(b"", b"x")]))
    packed[end] = 1
    packed[end + 1 : end + 5] = struct.pack("<I", masked(bytes(packed[: end + 1])))
    with pytest.raises(CheckpointError, match="compressed"):
        read_table(BytesSource(bytes(packed)))


def test_keys_take_no_more_memory_than_an_index_may_have(monkeypatch):
    entries = [(b"k" * 1000 + b"%03d" % n, bytes(500)) for n in range(100)]
    data = make_table(entries, 100, 100)
    monkeypatch.setattr(sstable, "MAX_KEYS", 100_300)
    assert len(read_table(BytesSource(data)).entries) == 100
    monkeypatch.setattr(sstable, "MAX_KEYS", 100_299)
    with pytest.raises(LimitExceeded):
        read_table(BytesSource(data))


def test_crcs_are_those_of_the_published_check_value() -> None:
    crc = 0xE3069283  # CRC-32C of 123456789, RFC 3720
    rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
    assert masked_of(BytesSource(b"123456789")) == (rotated + 0xA282EAD8) & 0xFFFFFFFF


# ---- index and data ------------------------------------------------------------------------------


def test_without_its_index_a_data_file_is_unknown() -> None:
    made = make_bundle(ONE)
    assert look(made.shards[0], made.index).formats == ("tensorflow",)
    assert "Expected m.index beside it" in refused(made.shards[0], None)


def test_data_that_the_index_does_not_describe_are_unknown() -> None:
    made = make_bundle(ONE)
    assert "not of one checkpoint" in refused(made.shards[0][:-1], made.index)
    assert "not of one checkpoint" in refused(made.shards[0] + b"x", made.index)
    assert "one of 1 data files" in refused(made.shards[0], made.index, "m.data-00000-of-00002")
    wrong = make_bundle({"a": Made(F32, (3,), bytes(8))})
    assert "F32 of shape [3]" in refused(wrong.shards[0], wrong.index)
    huge = make_bundle({"a": Made(F32, (2**62, 2**62, 0), b""), "b": Made(F32, (1,), bytes(4))})
    assert look(huge.shards[0], huge.index).formats == ("tensorflow",)


def test_an_index_whose_crc_fails_is_refused() -> None:
    made = make_bundle(ONE)
    for at in (3, 20):
        index = bytearray(made.index)
        index[at] ^= 1
        assert "m.index beside it is malformed" in refused(made.shards[0], bytes(index))


def test_overlapping_tensors_are_refused() -> None:
    made = make_bundle(ONE)
    table = read_table(BytesSource(made.index))
    entries = [(e.key, table.data[e.start : e.end]) for e in table.entries]
    entries.append((b"c", entries[1][1]))
    assert "Buffer 1" in refused(made.shards[0], make_table(entries))


def test_strings_stay_in_the_skeleton() -> None:
    made = make_bundle(ONE | {"words": Made(STRING, (2,), b"\x01\x01crc_ab")})
    assert [tensor.name for tensor in look(made.shards[0], made.index).layout.tensors] == ["a", "b"]


def test_new_values_mend_their_crcs_and_no_others() -> None:
    made = make_bundle(ONE)
    file, context = BytesSource(made.shards[0]), context_of(installed(), DATA, {INDEX: made.index})
    layout = TensorFlow().scan(file, context)
    new = b"\1\2\3\4"
    beside = TensorFlow().splice_beside(file, layout, {1: BytesSource(new)}, context)
    (index,) = beside.values()
    expected = make_bundle(ONE | {"b": Made(F32, (), new)}).index
    assert (list(beside), bytes(index.read(0, index.size))) == ([INDEX], expected)
    assert TensorFlow().splice_beside(file, layout, {}, context) == {}


# ---- slices --------------------------------------------------------------------------------------


def ordered(name: bytes, *dimensions: tuple[int, int]) -> bytes:
    """A key as TensorFlow's ordered code has it, for small numbers."""
    text = name.replace(b"\xff", b"\xff\0").replace(b"\0", b"\0\xff") if b"\0" in name else name
    numbers = b"".join(bytes([0x80 ^ (n & 255)]) for pair in dimensions for n in pair)
    return b"\0" + text + b"\0\1" + bytes([1, len(dimensions)]) + numbers


def test_slices_are_groups_of_their_own() -> None:
    keys = {ordered(b"w", (0, 2), (0, -1)): bytes(8), ordered(b"w", (2, 2), (0, -1)): bytes(8)}
    made = make_bundle({key: Made(F32, (2, 1), data) for key, data in keys.items()})
    names = [tensor.name for tensor in look(made.shards[0], made.index).layout.tensors]
    assert names == ["w[0:2,:]", "w[2:4,:]"]


@pytest.mark.parametrize(
    "key", [b"\0", b"\0w", b"\0w\0", b"\0w\0\1", b"\0w\0\1\1\2\x80", b"\0\0\2"]
)
def test_malformed_keys_of_slices_are_refused(key: bytes) -> None:
    with pytest.raises(CheckpointError, match="Expected the key of a slice"):
        slice_name(key)


@given(st.binary(max_size=60))
def test_no_key_makes_anything_but_a_name_or_an_error(key: bytes) -> None:
    found = attempt(lambda: slice_name(b"\0" + key), CheckpointError, "a key")
    assert found is None or found.endswith("]")


@given(st.binary(max_size=200))
def test_any_entry_is_read_or_refused(value: bytes) -> None:
    made = make_table([(b"", b"\x08\x01"), (b"a", value)])
    found = attempt(lambda: read_index(BytesSource(made)), CheckpointError, "an entry")
    assert found is None or len(found.tensors) <= 1
