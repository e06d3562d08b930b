"""Short runs share payloads, each lies in one block of its payload, and changes are noticed."""

from __future__ import annotations

import random
from itertools import accumulate, pairwise
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from synthetic import clean_file, rebuild_file, synthetic_file

from git_theta.bundles import gather
from git_theta.checkpoint import Buffer
from git_theta.digested import STRETCH, Digested
from git_theta.digests import digest_runs
from git_theta.errors import FileChangedError
from git_theta.metadata import parse
from git_theta.source import BytesSource
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import BUNDLE, BUNDLE_BUFFERS, SHORT, BufferId, Members
from git_theta.testing.blocks import weights


def runs_of(sizes: list[int], dtype: str = "F32") -> list[Buffer]:
    starts = accumulate(sizes, initial=8)
    return [Buffer(dtype, start, size) for start, size in zip(starts, sizes, strict=False)]


def gather_runs(data: bytes, runs: list[Buffer]) -> list[tuple[list[int], tuple[int, ...], bytes]]:
    """Lengths of buffers and blocks, and the bytes, of everything that is to be stored."""
    digests, digested = digest_runs(BytesSource(data), runs)
    named = [(BufferId(r.dtype, d), r) for r, d in zip(runs, digests, strict=True)]
    return [
        ([n for _, n in w.buffers], w.blocks, bytes(w.data.read(0, w.data.size)))
        for w in gather(BytesSource(data), digested, named)
    ]


@given(st.lists(st.integers(1, SHORT + 100).map(lambda n: n * 4 % (SHORT + 8) or 4), max_size=60))
def test_every_short_buffer_lies_in_one_block_that_is_cheap_to_read(sizes: list[int]) -> None:
    data = random.Random(1).randbytes(8 + sum(sizes))
    runs = runs_of(sizes)
    found = gather_runs(data, runs)
    short = [run for run in runs if run.nbytes < SHORT]
    assert [n for ns, blocks, _ in found if blocks for n in ns] == [run.nbytes for run in short]
    joined = b"".join(plain for _, blocks, plain in found if blocks)
    assert joined == b"".join(data[run.start : run.start + run.nbytes] for run in short)
    for lengths, blocks, plain in found:
        if not blocks:
            assert lengths[0] >= SHORT
            continue
        assert sum(blocks) == len(plain) <= BUNDLE
        edges = list(accumulate(blocks, initial=0))
        for end, n in zip(accumulate(lengths), lengths, strict=True):
            (block,) = [
                high - low for low, high in pairwise(edges) if low <= end - n and end <= high
            ]
            assert block <= 2 * n + 4096


def test_bundles_are_filled_whatever_lies_between_the_short_runs() -> None:
    kinds = [("F32", 400, False), ("BF16", 60, False), ("F32", SHORT, False), ("F32", 12, True)]
    runs, at = [], 0
    for n in range(200):
        dtype, nbytes, big_endian = kinds[n % 4]
        runs.append(Buffer(dtype, at + n % 3, nbytes, big_endian))
        at += nbytes + n % 3
    found = gather_runs(random.Random(2).randbytes(at), runs)
    assert sorted(len(lengths) for lengths, _, _ in found) == [1] * 50 + [50] * 3


def test_bundles_have_a_limited_number_of_buffers() -> None:
    found = gather_runs(bytes(2 * BUNDLE_BUFFERS), runs_of([1] * (BUNDLE_BUFFERS + 5), "U8"))
    assert [len(lengths) for lengths, _, _ in found] == [BUNDLE_BUFFERS, 5]


def test_buffers_of_a_bundle_are_told_by_columns(tmp_path: Path) -> None:
    arrays = [weights("F32", 40 + 4 * n, seed=n) for n in range(30)]
    file = synthetic_file([("F32", b"", False, data) for data in arrays], [])
    with LocalStore(tmp_path) as store:
        text = clean_file(file, store)
        (name,) = store.packs.packs()
        payload = store.pack(name).payload(1)
        assert isinstance(payload.buffers, Members)
        buffers = [(BufferId("F32", blake3(data).digest()), len(data)) for data in arrays]
        assert list(payload.buffers) == buffers
        assert len(parse(text).buffers) == 30
        assert rebuild_file(text, store) == file


def test_what_is_read_again_is_what_was_digested() -> None:
    held = bytearray(random.Random(3).randbytes(3 * STRETCH))
    digested = Digested(BytesSource(held))
    for at in (100, STRETCH + 100):
        digested.add(at, STRETCH, blake3(held[at : at + STRETCH]).digest())
    digested.add(2 * STRETCH + 200, 50, blake3(held[2 * STRETCH + 200 :][:50]).digest())
    for at, nbytes in ((100, 2 * STRETCH), (STRETCH + 90, 20), (2 * STRETCH + 200, 50)):
        assert bytes(digested.read(at, nbytes)) == held[at : at + nbytes]
    for at, nbytes in ((99, 2), (0, 1), (2 * STRETCH + 99, 2), (2 * STRETCH + 200, 51)):
        with pytest.raises(LookupError):
            digested.read(at, nbytes)


def test_change_of_a_short_run_is_noticed() -> None:
    data = bytearray(random.Random(4).randbytes(8000))
    runs = runs_of([400] * 10)
    digests, digested = digest_runs(BytesSource(data), runs)
    named = [(BufferId(r.dtype, d), r) for r, d in zip(runs, digests, strict=True)]
    (wanted,) = gather(BytesSource(data), digested, named)
    data[2000] ^= 1
    with pytest.raises(FileChangedError, match="written to while"):
        wanted.data.read(0, wanted.data.size)
