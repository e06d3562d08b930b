"""Payloads that stand on each other: every buffer that can be read is read, and nothing loops."""

from __future__ import annotations

from itertools import chain as joined
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from made_packs import PATCH, RAW, digest, pack_of, put, row

from git_theta.errors import MissingPackError, PackError
from git_theta.plugins import Plugins
from git_theta.storage.chain import MAX_READS, Ways
from git_theta.storage.decode import Reader
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import MAX_DEPTH, BufferId
from git_theta.storage.replace import needed_of

PLUGINS = Plugins()
Made = tuple[int, tuple[int, ...]]
"""A payload: which buffer it decodes to, on which it stands."""


def data_of(number: int) -> bytes:
    return b"the buffer %d" % number


def buffer_of(number: int) -> BufferId:
    return BufferId("U8", digest(data_of(number)))


def put_payload(folder: Path, number: int, *bases: int, depth: int = 0, copy: int = 0) -> str:
    """A pack of one payload; ``copy`` makes it another pack, ``depth`` is what it claims."""
    data = data_of(number)
    if not bases:
        return put(folder, pack_of(data + bytes(copy), [row(data), *_filler(copy)]))
    patch = zstandard.compress(data)
    changes = {
        "update": PATCH,
        "depth": depth or 1 + len(bases),
        "cost": len(patch) + 1,
        "bases": [["U8", digest(data_of(base))] for base in bases],
        "parts": [[RAW, "U8", len(patch), 2048, [len(patch)]]],
    }
    return put(folder, pack_of(patch + bytes(copy), [row(data, patch, **changes), *_filler(copy)]))


def _filler(nbytes: int) -> list[object]:
    return [row(bytes(nbytes))] if nbytes else []


def read(store: LocalStore, number: int) -> bytes:
    source = Reader(store, PLUGINS).open(buffer_of(number))
    return bytes(source.read(0, source.size))


def test_two_stores_that_told_each_buffer_by_the_other_are_read_with_either_base(
    tmp_path: Path,
) -> None:
    """One has 0 and 1 on it, the other has 1 and 0 on it; then either lacks what it stood on."""
    first, second = put_payload(tmp_path, 0), put_payload(tmp_path, 1)
    put_payload(tmp_path, 1, 0)
    put_payload(tmp_path, 0, 1)
    for lost in (first, second):
        moved = (tmp_path / "objects" / lost).rename(tmp_path / lost)
        with LocalStore(tmp_path) as store:
            assert [read(store, number) for number in (0, 1)] == [data_of(0), data_of(1)]
        moved.rename(tmp_path / "objects" / lost)
    for lost in (first, second):
        (tmp_path / "objects" / lost).unlink()
    with (
        LocalStore(tmp_path) as store,
        pytest.raises(MissingPackError, match="only in terms of one another"),
    ):
        read(store, 0)


def test_a_base_that_is_deeper_now_than_it_was_is_read_all_the_same(tmp_path: Path) -> None:
    """What was dense when 1 was told by it is itself told by others since then."""
    put_payload(tmp_path, 1, 0, depth=2)
    put_payload(tmp_path, 0, 2, depth=3)
    put_payload(tmp_path, 2, 3, depth=2)
    put_payload(tmp_path, 3)
    with LocalStore(tmp_path) as store:
        assert read(store, 1) == data_of(1)
        ways = Ways(store)
        chain = ways.chain(ways.find([buffer_of(1)])[buffer_of(1)])
        assert [step.payload.buffers[0][0] for step in chain.values()] == list(
            map(buffer_of, (1, 0, 2, 3))
        )


def test_the_way_of_the_fewest_payloads_is_taken_whatever_depth_they_claim(tmp_path: Path) -> None:
    put_payload(tmp_path, 0, 1, depth=2)  # on a chain of three
    put_payload(tmp_path, 1, 2, depth=8)
    put_payload(tmp_path, 2, 3, depth=8)
    put_payload(tmp_path, 3)
    short = put_payload(tmp_path, 0, 3, depth=8, copy=1)
    with LocalStore(tmp_path) as store:
        assert Ways(store).find([buffer_of(0)])[buffer_of(0)].pack == short
        assert read(store, 0) == data_of(0)


def test_another_way_is_taken_where_a_pack_on_the_first_is_damaged(tmp_path: Path) -> None:
    put_payload(tmp_path, 0, 1)
    base = put_payload(tmp_path, 1)
    put_payload(tmp_path, 1, 2)
    put_payload(tmp_path, 2)
    with LocalStore(tmp_path) as store:
        path = tmp_path / "objects" / base
        data = bytearray(path.read_bytes())
        data[-50] ^= 1  # the digest of its directory
        path.write_bytes(data)
        assert read(store, 0) == data_of(0)
        for pack in store.packs.packs() - {base}:
            if len(store.pack(pack).payload(0).bases) == 0:
                (tmp_path / "objects" / pack).unlink()
    with LocalStore(tmp_path) as store, pytest.raises((PackError, MissingPackError)):
        read(store, 0)


def test_ways_are_found_within_the_packs_that_may_be_used(tmp_path: Path) -> None:
    dense, told = put_payload(tmp_path, 0), put_payload(tmp_path, 0, 1)
    put_payload(tmp_path, 1)
    with LocalStore(tmp_path) as store:
        assert Ways(store).find([buffer_of(0)])[buffer_of(0)].pack == dense
        without = Ways(store, without={dense})
        assert without.find([buffer_of(0)])[buffer_of(0)].pack == told
        nothing = Ways(store, without=store.packs.packs() - {told})
        assert nothing.find([buffer_of(0), buffer_of(1)]) == {}


def test_a_pack_stays_if_reading_without_it_would_take_too_long(tmp_path: Path) -> None:
    put_payload(tmp_path, 0, 1)
    dense = put_payload(tmp_path, 1)
    chain = {put_payload(tmp_path, number, number + 1, depth=2) for number in range(1, MAX_DEPTH)}
    chain.add(put_payload(tmp_path, MAX_DEPTH))
    with LocalStore(tmp_path) as store:
        assert needed_of(store, {dense}, [buffer_of(0)]) == {dense}
        assert needed_of(store, {dense}, [buffer_of(1)]) == set()
        assert needed_of(store, chain, [buffer_of(0), buffer_of(1)]) == set()
        assert needed_of(store, {dense, *chain}, [buffer_of(0)]) == {dense}
        everything = store.packs.packs()
        assert needed_of(store, everything, []) == set()
        assert needed_of(store, everything, [buffer_of(2)]) == chain - {
            pack for pack in chain if (store.pack(pack).payload(0).buffers[0][0]) == buffer_of(1)
        }


payloads = st.lists(
    st.tuples(st.integers(0, 5), st.lists(st.integers(0, 5), max_size=3).map(tuple)),
    max_size=14,
)


def readable(made: list[Made]) -> dict[int, int]:
    """Buffers that can be decoded, and in how many reads at least, found the slow way."""
    least: dict[int, int] = {}
    for _ in range(20):
        for number, bases in made:
            if all(base in least for base in bases):
                reads = 1 + sum(least[base] for base in set(bases))
                if reads <= MAX_READS:
                    least[number] = min(least.get(number, reads), reads)
    return least


@settings(max_examples=80)
@given(payloads, st.randoms(use_true_random=False))
def test_every_buffer_that_has_a_way_is_found_and_by_the_shortest(
    made: list[Made], random: object
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        for number, bases in made:
            put_payload(folder, number, *bases, depth=min(8, 1 + len(bases)))
        with LocalStore(folder) as store:
            ways, expected = Ways(store), readable(made)
            numbers = list(range(6))
            random.shuffle(numbers)  # type: ignore[attr-defined]
            for number in numbers:  # what was found before must not change what is found
                found = ways.find([buffer_of(number)])
                assert bool(found) == (number in expected)
            for number, reads in expected.items():
                location = ways.find([buffer_of(number)])[buffer_of(number)]
                chain = ways.chain(location)
                assert len(chain) <= reads
                decoded = {step.payload.buffers[0][0] for step in chain.values()}
                bases = set(joined.from_iterable(step.bases for step in chain.values()))
                assert bases <= decoded


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 4)), max_size=12))
def test_what_can_be_read_is_read_exactly(pairs: list[tuple[int, int]]) -> None:
    made = [(number, (base,) if base >= 0 else ()) for number, base in pairs]
    with TemporaryDirectory() as name:
        folder = Path(name)
        for copy, (number, bases) in enumerate(made):
            put_payload(folder, number, *bases, copy=copy)
        with LocalStore(folder) as store:
            expected = readable(made)
            for number in range(5):
                if number in expected:
                    assert read(store, number) == data_of(number)
                else:
                    with pytest.raises(MissingPackError):
                        read(store, number)


def test_buffers_of_a_bundle_that_stand_on_each_other_loop_nowhere(tmp_path: Path) -> None:
    """0 stands on 1 and 1 on 0 in one bundle, 2 on 0: with a payload of 0 all can be read."""
    data = list(map(data_of, range(3)))
    patches = list(map(zstandard.compress, data))
    sizes, lengths = ([len(one) for one in some] for some in (data, patches))
    columns = [np.array(one, "<u4").tobytes() for one in (sizes, lengths)]
    digests, bases = (b"".join(digest(data[n]) for n in some) for some in ((0, 1, 2), (1, 0, 0)))
    changes = {
        "update": PATCH,
        "depth": 2,
        "cost": 1 + sum(lengths),
        "bases": [["U8", bases]],
        "parts": [[RAW, "U8", sum(lengths), columns[1], columns[1]]],
        "buffers": [["U8", digests, columns[0]]],
    }
    body = b"".join(patches)
    put(tmp_path, pack_of(body, [row(b"", body, **changes)]))
    with LocalStore(tmp_path) as store:
        assert not store.damaged
        for number in range(3):
            with pytest.raises(MissingPackError):
                read(store, number)
    put_payload(tmp_path, 0)
    with LocalStore(tmp_path) as store:
        assert [read(store, number) for number in range(3)] == data
