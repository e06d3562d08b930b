"""The pickle machine reads what Python's unpickler reads, as inert stand-ins."""

from __future__ import annotations

import argparse
import pickle
import pickletools
from collections import Counter, OrderedDict, defaultdict, deque
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_theta.errors import CheckpointError, LimitExceeded
from theta_pytorch.pickles import machine
from theta_pytorch.pickles.machine import load_pickle
from theta_pytorch.pickles.stand_ins import OPAQUE, Global, Inert, Pairs, Persistent
from theta_pytorch.pickles.state import HANDLERS, Truncated

PROTOCOLS = st.integers(0, 5)
KEYS = st.text(max_size=5) | st.integers(-(2**62), 2**62) | st.booleans() | st.none()
SIMPLE = KEYS | st.floats(allow_nan=False) | st.text(max_size=300)
OBJECTS = st.recursive(
    SIMPLE,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=25,
)


def as_python(value: object) -> object:
    """The object that stand-ins without calls stand for."""
    if isinstance(value, Pairs):
        parts = [as_python(part) for part in value]
        return dict(zip(parts[::2], parts[1::2], strict=True))
    if isinstance(value, list | tuple):
        return type(value)(as_python(part) for part in value)
    return value


def exactly(value: object) -> str:
    return repr(value)  # tells True from 1 and -0.0 from 0.0


@given(OBJECTS, PROTOCOLS)
def test_plain_objects_are_themselves(content: object, protocol: int) -> None:
    data = pickle.dumps(content, protocol)
    found = load_pickle(b"before" + data + b"after", 6)
    assert exactly(as_python(found.root)) == exactly(content)
    assert found.end == 6 + len(data)


@given(st.lists(OBJECTS, max_size=3), PROTOCOLS)
def test_pickles_without_a_memo_are_read(content: list[object], protocol: int) -> None:
    data = pickletools.optimize(pickle.dumps(content, protocol))
    assert exactly(as_python(load_pickle(data).root)) == exactly(content)


@pytest.mark.parametrize("protocol", range(6))
def test_shared_objects_stay_shared(protocol: int) -> None:
    inner = [1]
    content: list[Any] = [inner, {"again": inner}, inner]
    content.append(content)
    root: Any = load_pickle(pickle.dumps(content, protocol)).root
    assert root[0] is root[2] is root[1][1]
    assert root[3] is root


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize(
    ("content", "module", "name"),
    [
        (OrderedDict(a=1), "collections", "OrderedDict"),
        (Counter("a"), "collections", "Counter"),
        (defaultdict(list, a=1), "collections", "defaultdict"),
        (deque([1, 2]), "collections", "deque"),
        (Fraction(1, 2), "fractions", "Fraction"),
        (argparse.Namespace(a=1), "argparse", "Namespace"),
    ],
)
def test_objects_are_records_of_what_would_be_called(
    content: object, module: str, name: str, protocol: int
) -> None:
    root = load_pickle(pickle.dumps(content, protocol)).root
    assert isinstance(root, Inert)
    assert isinstance(root.type, Global)
    assert (root.type.module, root.type.name) == (module, name)


@pytest.mark.parametrize("protocol", range(2))
def test_old_protocols_name_the_class_as_an_argument(protocol: int) -> None:
    root: Any = load_pickle(pickle.dumps(argparse.Namespace(a=1), protocol)).root
    assert (root.type.module, root.type.name) == ("copy_reg", "_reconstructor")
    assert (root.args[0].module, root.args[0].name) == ("argparse", "Namespace")
    assert root.state == ["a", 1]


def test_items_and_attributes_are_kept_apart() -> None:
    made: Any = OrderedDict(a=1)
    made.extra = 2
    root = load_pickle(pickle.dumps(made, 2)).root
    assert isinstance(root, Inert)
    assert root.pairs == ["a", 1]
    assert root.state == ["extra", 2]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "content", [b"x" * 300, b"", bytearray(b"abc"), "x" * 5000, 10**60, {1, 2}, frozenset([1])]
)
def test_what_is_of_no_use_is_skipped_exactly(content: object, protocol: int) -> None:
    data = pickle.dumps(["before", content, "after"], protocol)
    root: Any = load_pickle(data).root
    assert (root[0], root[2]) == ("before", "after")


def test_long_strings_and_bytes_take_no_memory() -> None:
    root: Any = load_pickle(pickle.dumps([b"x" * 10**5, "y" * 10**5, 1 << 4000], 4)).root
    assert root == [OPAQUE, OPAQUE, OPAQUE]


def test_names_that_are_not_unicode_are_escaped() -> None:
    data = pickle.dumps({"\ud800": 1}, 2)
    assert load_pickle(data).root == ["\\xed\\xa0\\x80", 1]


def test_persistent_objects_are_told_in_order() -> None:
    found = load_pickle(b"](K\x01QK\x02QK\x01Qe.")
    assert [outside.id for outside in found.persistent] == [1, 2, 1]
    assert all(isinstance(part, Persistent) for part in found.root)  # type: ignore[attr-defined]


def test_all_opcodes_but_extensions_and_foreign_buffers_are_known() -> None:
    unknown = HANDLERS[0]
    names = {code.name for code in pickletools.opcodes if HANDLERS[ord(code.code)] is unknown}
    assert names == {"EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}


@given(OBJECTS, PROTOCOLS, st.data())
def test_a_pickle_that_is_cut_says_that_it_goes_on(
    content: object, protocol: int, data: st.DataObject
) -> None:
    whole = pickle.dumps(content, protocol)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(Truncated):
        load_pickle(whole[:cut])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"0" * 20, "empty stack"),
        (b"\xff" + b"." * 20, "opcode 0xff"),
        (b"h\x07" + b"." * 20, "malformed"),
        (b"Na" + b"." * 20, "empty stack"),
        (b"NNa" + b"." * 20, "appends to NoneType"),
        (b"NNNs" + b"." * 20, "sets items of NoneType"),
        (b"}(Nu" + b"." * 20, "key without a value"),
        (b"NNb" + b"." * 20, "sets attributes of NoneType"),
        (b"NN\x93" + b"." * 20, "no string"),
        (b"\x80\x06" + b"." * 20, "protocol 6"),
        (b"Iabc\n" + b"." * 20, "malformed"),
        (b"g-1\n" + b"." * 20, "no memo index"),
        (b"\x8b\xff\xff\xff\xff" + b"." * 20, "claims -1 bytes"),
        (b"c" + b"x" * 9000, "line of more than"),
    ],
)
def test_malformed_pickles_are_told_so(body: bytes, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_pickle(body)


def test_memory_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "MAX_MEMORY", 10**5)
    load_pickle(b"](" + b"]" * 1000 + b"e.")
    with pytest.raises(LimitExceeded, match="100000 bytes"):
        load_pickle(b"](" + b"]" * 2000 + b"e.")
