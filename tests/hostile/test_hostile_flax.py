"""Hostile msgpack files: no length is believed, nothing is built, nothing hangs.

The files are made by hand, without flax.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_theta.checkpoint import Layout, check_layout
from git_theta.errors import CheckpointError, FormatMismatch, LimitExceeded
from git_theta.formats.detect import Context, detect
from git_theta.plugins import installed
from git_theta.source import BytesSource, Source
from git_theta.testing.hostile import attempt, damaged, truncations
from git_theta.testing.memory import at_most
from theta_flax import walk
from theta_flax.flax_msgpack import FlaxMsgpack
from theta_flax.packed import Kind, Packed

MIB = 2**20


def array(
    shape: object = (2, 3), dtype: object = "float32", data: object = bytes(24), code: int = 1
) -> msgpack.ExtType:
    return msgpack.ExtType(code, msgpack.packb((shape, dtype, data)))


def scan(data: bytes, path: str = "hostile") -> Layout:
    layout = FlaxMsgpack().scan(BytesSource(data), Context(installed(), path))
    check_layout(layout, len(data))
    return layout


def names(content: object) -> list[str]:
    return [tensor.name for tensor in scan(msgpack.packb(content)).tensors]


def test_the_honest_file_is_read() -> None:
    layout = scan(msgpack.packb({"a": {"b": array(), "c": 5}, "d": [array(code=3)]}))
    assert [(t.name, t.dtype, t.shape) for t in layout.tensors] == [
        ("a.b", "F32", (2, 3)),
        ("d.0", "F32", (2, 3)),
    ]


# ---- files of others -----------------------------------------------------------------------------

OTHERS = {
    "no array": msgpack.packb({"a": [1, 2.5, "text", None, b"bytes", {"b": True}]}),
    "a pickle": b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00}.",
    "an extension of another kind": msgpack.packb({"a": msgpack.ExtType(5, b"12345")}),
    "a map of nothing": b"\xdf\xff\xff\xff\xff",
    "a map of lists": b"\xdf\xff\xff\xff\xff\xa1a\xdd\xff\xff\xff\xff",
    "zeros": b"\x81" + bytes(MIB),
    "behind the end": msgpack.packb({}) + b"\x00",
    "the byte of no item": b"\x81\xa1a\xc1",
    "an array without numbers": msgpack.packb({"a": msgpack.ExtType(1, b"")}),
}


@pytest.mark.parametrize("what", OTHERS)
def test_files_of_others_are_told_apart_without_a_warning(what: str) -> None:
    assert FlaxMsgpack().matches(OTHERS[what][:4096], "m.bin")
    with at_most(MIB, what), pytest.raises(FormatMismatch):
        scan(OTHERS[what])
    found = detect(BytesSource(OTHERS[what]), "m.bin", installed())
    assert (found.formats, found.warning) == (("unknown",), "")


def test_a_file_that_claims_to_be_msgpack_is_told_to_be_none() -> None:
    found = detect(BytesSource(OTHERS["the byte of no item"]), "m.msgpack", installed())
    assert found.formats == ("unknown",)
    assert "m.msgpack looks like flax-msgpack but cannot be read as such: Byte 3" in found.warning
    assert detect(BytesSource(OTHERS["no array"]), "m.msgpack", installed()).warning == ""


# ---- lies ----------------------------------------------------------------------------------------

ARRAYS = {
    "too many bytes": array(data=bytes(25)),
    "too few bytes": array(data=bytes(23)),
    "huge extents": array((2**62, 2**62)),
    "an extent of 64 bits": array((2**63, 0), data=b""),
    "a negative extent": array((-2, -3)),
    "an extent that is no number": array(("2", 3)),
    "a shape that is no list": array(6),
    "too many dimensions": array((1,) * 65, data=bytes(4)),
    "no dtype": array(dtype=None),
    "a dtype of many letters": array(dtype="f" * 10_000),
    "numbers in a list": array(data=[0] * 6),
    "four parts": msgpack.ExtType(1, msgpack.packb(((2, 3), "float32", bytes(24), 0))),
    "bytes behind the numbers": msgpack.ExtType(1, msgpack.packb(((6,), "int8", bytes(6))) + b"\0"),
    "numbers that leave the extension": msgpack.ExtType(
        1, b"\x93\x91\x06\xa4int8\xc6\x00\x00\x00\x06"
    ),
    "nothing": msgpack.ExtType(1, b""),
    "a piece of a huge whole": {
        "__msgpack_chunked_array__": True,
        "shape": {str(n): 1 for n in range(100)},
        "chunks": {"0": array()},
    },
    "pieces without a shape": {"__msgpack_chunked_array__": True, "chunks": {}, "shape": {}},
    "a dimension out of its turn": {
        "__msgpack_chunked_array__": True,
        "shape": {"1": 2, "0": 3},
        "chunks": {"0": array()},
    },
}


@pytest.mark.parametrize("what", ARRAYS)
def test_arrays_that_contradict_themselves_are_refused(what: str) -> None:
    data = msgpack.packb({"honest": array(), "lie": ARRAYS[what], "after": [0] * 50})
    with at_most(MIB, what), pytest.raises(CheckpointError) as caught:
        scan(data)
    assert not isinstance(caught.value, FormatMismatch)


HONEST = msgpack.packb("a") + msgpack.packb(array())

CLAIMS = {
    "map of 4 billion": b"\xdf\xff\xff\xff\xff" + HONEST,
    "list of 4 billion": b"\x82" + HONEST + b"\xa1b\xdd\xff\xff\xff\xff",
    "text of 4 GiB": b"\x82" + HONEST + b"\xa1b\xdb\xff\xff\xff\xff",
    "bytes of 4 GiB": b"\x82" + HONEST + b"\xa1b\xc6\xff\xff\xff\xff",
    "extension of 4 GiB": b"\x82" + HONEST + b"\xa1b\xc9\xff\xff\xff\xff\x01",
    "key of 4 GiB": b"\x82" + HONEST + b"\xdb\xff\xff\xff\xff",
    "key of 1 MiB": b"\x82" + HONEST + b"\xdb" + struct.pack(">I", MIB) + bytes(MIB) + b"\xc0",
    "key that is no UTF-8": b"\x82" + HONEST + b"\xa1\xff\xc0",
    "list as a key": b"\x82" + HONEST + b"\x90\xc0",
    "map as a key": b"\x82" + HONEST + b"\x80\xc0",
    "array as a key": b"\x82" + HONEST + msgpack.packb(array()) + b"\xc0",
    "lists in lists": b"\x82" + HONEST + b"\xa1b" + b"\x91" * 100_000 + b"\xc0",
    "maps in maps": b"\x82" + HONEST + b"\xa1b" + b"\x81\xa0" * 100_000 + b"\xc0",
    "a byte behind the end": b"\x81" + HONEST + b"\xc0",
}  # fmt: skip


@pytest.mark.parametrize("what", CLAIMS)
def test_claims_cost_neither_memory_nor_time(what: str) -> None:
    with at_most(MIB, what), pytest.raises(CheckpointError) as caught:
        scan(CLAIMS[what])
    assert not isinstance(caught.value, FormatMismatch)


def test_many_names_are_refused_before_they_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(walk, "MAX_ARRAYS", 3)
    assert names([array()] * 3) == ["0", "1", "2"]
    with pytest.raises(LimitExceeded, match="at most 3 arrays"):
        names([array()] * 4)
    monkeypatch.setattr(walk, "MAX_CHARACTERS", 10)
    assert names({"abcde": array(), "ABCDE": array()}) == ["abcde", "ABCDE"]
    with pytest.raises(LimitExceeded, match="at most 3 arrays"):
        names({"abcde": array(), "ABCDEF": array()})


def test_items_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "MAX_ITEMS", 100)
    assert names([array(), *range(98)]) == ["0"]
    with pytest.raises(LimitExceeded, match="at most 100 items"):
        names([array(), *range(99)])


def test_paths_are_bounded() -> None:
    content: object = array()
    for _ in range(100):
        content = {"a" * 9: content}
    assert len(names(content)[0]) == 999
    with pytest.raises(LimitExceeded, match="at most 1024 characters"):
        names({"first": array(), "second": {"a" * 25: content}})


def test_equal_paths_and_double_keys_are_told_apart() -> None:
    pairs = b"\x84" + HONEST * 2 + msgpack.packb("a#2") + msgpack.packb(array()) + b"\xa1b\xc0"
    assert [tensor.name for tensor in scan(pairs).tensors] == ["a", "a#2", "a#2#2"]


def test_dtypes_that_we_have_no_name_for_have_bytes_and_no_group() -> None:
    layout = scan(msgpack.packb({"a": array(dtype="int4", data=b"123"), "b": array()}))
    assert [(buffer.dtype, buffer.nbytes) for buffer in layout.buffers] == [("U8", 3), ("F32", 24)]
    assert [tensor.name for tensor in layout.tensors] == ["b"]


# ---- large files ---------------------------------------------------------------------------------


class Sparse(Source):
    """Zeros with some bytes between them; counts what is read."""

    def __init__(self, size: int, parts: Sequence[tuple[int, bytes]]) -> None:
        self.size, self.parts, self.nbytes = size, parts, 0

    def _read(self, offset: int, nbytes: int) -> bytes:
        self.nbytes += nbytes
        data = bytearray(nbytes)
        for start, part in self.parts:
            for at, byte in enumerate(part, start - offset):
                if 0 <= at < nbytes:
                    data[at] = byte
        return bytes(data)


def test_numbers_are_stepped_over_unread() -> None:
    size = 2**31 - 1000
    head = b"\x93\x91\xce" + struct.pack(">I", size) + b"\xa4int8\xc6" + struct.pack(">I", size)
    first = b"\x82\xa1a\xc9" + struct.pack(">I", len(head) + size) + b"\x01" + head
    second = b"\xa1b" + first[3:]
    whole = 2 * size + len(first) + len(second)
    file = Sparse(whole, [(0, first), (len(first) + size, second)])
    layout = FlaxMsgpack().scan(file, Context(installed(), "large"))
    check_layout(layout, file.size)
    assert [tensor.shape for tensor in layout.tensors] == [(size,), (size,)]
    assert file.nbytes < 2**15


# ---- noise ---------------------------------------------------------------------------------------

VALID = msgpack.packb({"a": array(), "b": {"c": [array(), 1.5]}, "d": {"e": array(code=3)}})


def test_truncated_files_are_refused_or_read() -> None:
    for what, data in truncations(VALID):
        with at_most(MIB, what):
            attempt(lambda data=data: scan(data), CheckpointError, what)


def test_flipped_bits_are_refused_or_read() -> None:
    for what, data in damaged(VALID, 1500):
        with at_most(MIB, what):
            attempt(lambda data=data: scan(data), CheckpointError, what)


@given(st.binary(max_size=80), st.randoms(use_true_random=False))
def test_random_items_are_refused_or_read(noise: bytes, choice: random.Random) -> None:
    heads = bytes((*range(0x80, 0x84), *range(0x90, 0x94), *range(0xA0, 0xA4), *range(0xC0, 0xE0)))
    mixed = bytes(choice.choice(heads) if choice.random() < 0.7 else byte for byte in noise)
    attempt(lambda: scan(b"\x92" + msgpack.packb(array()) + mixed), CheckpointError, repr(mixed))


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.binary()
        | st.integers(-(2**63), 2**64 - 1),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)  # fmt: skip
def test_items_end_where_the_library_ends_them(content: object) -> None:
    data = msgpack.packb(content)
    packed, left = Packed(BytesSource(data)), 1
    while left:
        kind, number, *_ = packed.next()
        left += {Kind.MAP: 2 * number, Kind.LIST: number}.get(kind, 0) - 1
    assert packed.pos == len(data)
