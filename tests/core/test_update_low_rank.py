"""A merged adapter is found again, stored in few bytes, and gives back every bit."""

from __future__ import annotations

import gc
import struct
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import lowrank_reference
import numpy as np
import pytest
from synthetic_merges import merged

from git_theta.digests import digest
from git_theta.errors import PackError
from git_theta.recent import Recent
from git_theta.serializers.planes import Planes
from git_theta.source import BytesSource, Source
from git_theta.testing.memory import at_most
from git_theta.updates import factors as factors_module
from git_theta.updates.interface import Numbers, Part, Update
from git_theta.updates.low_rank import LowRank, from_factors

PLANES = Planes()


def numbers(data: bytes, dtype: str, shape: tuple[int, ...]) -> Numbers:
    return Numbers(BytesSource(data), dtype, shape)


def encode(new: bytes, base: bytes, dtype: str, shape: tuple[int, ...]) -> Update | None:
    return LowRank().encode(numbers(new, dtype, shape), [numbers(base, dtype, shape)])


def found(new: bytes, base: bytes, dtype: str, shape: tuple[int, ...]) -> Update:
    update = encode(new, base, dtype, shape)
    assert update is not None
    source = LowRank().decode(update, [BytesSource(base)], dtype, len(new))
    assert bytes(source.read(0, source.size)) == new
    return update


def rank(update: Update) -> int:
    return int(struct.unpack("<IHB", update.params)[1])


def stored(parts: Sequence[Part]) -> int:
    """Bytes of parts when they are serialized block by block."""
    total = 0
    for part in parts:
        step = PLANES.block_bytes(part.dtype)
        blocks = (bytes(block) for block in part.data.blocks(step))
        total += sum(min(len(block), len(PLANES.encode(block, part.dtype))) for block in blocks)
    return total


# ---- what is found -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["F64", "F32", "BF16", "F16"])
@pytest.mark.parametrize("true", [1, 2, 3, 8, 16, 32, 64])
@pytest.mark.parametrize("size", [0.1, 1.0])
def test_the_rank_of_the_adapter_is_found(dtype: str, true: int, size: float) -> None:
    rows, columns = 384, 512
    new, base = merged(dtype, rows, columns, true, size=size, seed=true)
    assert rank(found(new, base, dtype, (rows, columns))) == true


def test_a_rank_that_a_small_sample_does_not_show_is_found() -> None:
    new, base = merged("F32", 1000, 900, 150)
    assert rank(found(new, base, "F32", (1000, 900))) == 150


@pytest.mark.parametrize(
    ("dtype", "rows", "columns", "true", "most"),
    [
        ("F32", 1024, 1024, 16, 0.07),
        ("BF16", 1024, 1024, 16, 0.07),
        ("F16", 1024, 1024, 16, 0.08),
        ("F32", 256, 256, 8, 0.08),
        ("BF16", 256, 256, 8, 0.09),
        ("F16", 256, 256, 8, 0.12),
        ("BF16", 384, 1536, 16, 0.08),
        ("F64", 256, 256, 8, 0.5),
    ],
)
def test_factors_and_residual_take_few_bytes(
    dtype: str, rows: int, columns: int, true: int, most: float
) -> None:
    new, base = merged(dtype, rows, columns, true)
    update = found(new, base, dtype, (rows, columns))
    assert stored(update.parts) <= most * len(new)


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16", "F64", "F8_E4M3"])
@pytest.mark.parametrize("how", ["noise", "unlike", "equal"])
def test_what_has_no_low_rank_is_hopeless(dtype: str, how: str) -> None:
    shape = (192, 320)
    new, base = merged(dtype, *shape, 192)
    if how != "noise":
        new = base if how == "equal" else merged(dtype, *shape, 1, seed=1)[1]
    pair = numbers(new, dtype, shape), [numbers(base, dtype, shape)]
    assert LowRank().estimate(*pair) == len(new)
    assert LowRank().encode(*pair) is None


@pytest.mark.parametrize("shapes", [((64, 96), (6144,)), ((6144,), (64, 96))])
def test_a_shape_that_is_not_known_is_the_others(
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    new, base = merged("F32", 64, 96, 2)
    update = LowRank().encode(numbers(new, "F32", shapes[0]), [numbers(base, "F32", shapes[1])])
    assert update is not None
    assert rank(update) == 2


# ---- exactness -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16", "F64", "F8_E4M3", "F8_E5M2"])
def test_what_is_not_finite_comes_back(dtype: str) -> None:
    new, base = map(bytearray, merged(dtype, 96, 128, 2, size=4.0))
    width = len(new) // (96 * 128)
    for number in range(0, 96 * 128, 2999):
        at = slice(number * width, number * width + width)
        (new if number % 2 else base)[at] = b"\xff" * width
        if number % 3 == 0:
            new[at] = bytes(width - 1) + b"\x80"  # -0
    found(bytes(new), bytes(base), dtype, (96, 128))


@pytest.mark.parametrize("shape", [(64, 48, 3, 3), (5000, 6), (6, 5000), (17, 263)])
def test_any_window_is_decoded_by_itself(shape: tuple[int, ...]) -> None:
    rows, columns = shape[0], int(np.prod(shape[1:]))
    new, base = merged("BF16", rows, columns, 1, size=8.0)
    update = found(new, base, "BF16", shape)
    source = LowRank().decode(update, [BytesSource(base)], "BF16", len(new))
    for offset in (0, 1, 2 * columns - 1, 2 * columns, len(new) // 2 + 1, len(new) - 3):
        for nbytes in (1, 3, 2 * columns + 5, 100_000):
            nbytes = min(nbytes, len(new) - offset)
            assert bytes(source.read(offset, nbytes)) == new[offset : offset + nbytes]


def test_a_prediction_that_misses_nothing_has_no_residual() -> None:
    base = numbers(merged("BF16", 64, 80, 1)[1], "BF16", (64, 80))
    rng = np.random.default_rng(0)
    given = from_factors(base, rng.normal(0, 0.1, (64, 2)), rng.normal(0, 0.1, (2, 80)))
    assert given is not None
    new = LowRank().decode(given, [base.data], "BF16", base.data.size)
    update = found(
        bytes(new.read(0, new.size)), bytes(base.data.read(0, new.size)), "BF16", (64, 80)
    )
    assert len(given.parts) == 2
    assert stored(update.parts[2:]) < 0.1 * new.size


@pytest.mark.parametrize("dtype", ["F32", "F64", "BF16", "F16", "F8_E4M3"])
def test_given_factors_define_the_numbers(dtype: str) -> None:
    data = merged(dtype, 40, 56, 1)[1]
    rng = np.random.default_rng(3)
    left = rng.normal(0, 0.3, (40, 5)).astype("<f4")
    right = rng.normal(0, 0.001, (5, 56)).astype("<f4")
    left[7], right[:, 9] = 0, 0
    update = from_factors(numbers(data, dtype, (40, 7, 8)), left, right)
    assert update is not None
    assert len(update.parts) == 2
    new = LowRank().decode(update, [BytesSource(data)], dtype, len(data))
    assert bytes(new.read(0, new.size)) == lowrank_reference.decode(update, data, dtype)
    kind = lowrank_reference.FORMATS[dtype]
    words = [
        lowrank_reference.integers(some, kind.width // 8, signed=False)
        for some in (bytes(new.read(0, new.size)), data)
    ]
    values = [[float(lowrank_reference.value(word, kind) or 0) for word in some] for some in words]
    wanted = np.array(values[1]).reshape(40, 56) + left.astype("<f8") @ right.astype("<f8")
    off = np.abs(np.array(values[0]).reshape(40, 56) - wanted)
    assert (
        off <= 2.0**-kind.mantissa * np.abs(wanted) + 2.0 ** (2 - kind.bias - kind.mantissa) + 1e-9
    ).all()


# ---- limits --------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_matrix() -> None:
    shape = (3072, 4096)
    rng = np.random.default_rng(0)
    base = (rng.normal(0, 0.02, shape).astype("<f4").view("<u4") >> 16).astype("<u2")
    product = rng.normal(0, 0.01, (shape[0], 16)) @ rng.normal(0, 0.04, (16, shape[1]))
    product = product.astype("<f4") + (base.astype("<u4") << 16).view("<f4")
    new = (product.view("<u4") >> 16).astype("<u2").tobytes()
    del product
    old = base.tobytes()
    with at_most(64 * 2**20, "finding the factors of 24 MiB of BF16"):
        update = encode(new, old, "BF16", shape)
    assert update is not None
    with at_most(24 * 2**20, "decoding 24 MiB of BF16"):
        source = LowRank().decode(update, [BytesSource(old)], "BF16", len(new))
        at = 0
        for block in source.blocks(2**20):
            assert bytes(block) == new[at : at + len(block)]
            at += len(block)


def told_matrices(size: int, most: int, count: int) -> list[Source]:
    """Matrices that the same factors, of ``most`` ranks, tell."""
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((size, most)), rng.standard_normal((most, size))
    base = numbers(bytes(4 * size * size), "F32", (size, size))
    update = from_factors(base, left, right)
    assert update is not None
    decode = LowRank().decode
    return [decode(update, [base.data], "F32", base.data.size) for _ in range(count)]


def test_memory_does_not_grow_with_the_number_of_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factors_module, "_recent", Recent(2**20))
    matrices = told_matrices(128, 256, 40)
    with at_most(4 * 2**20, "reading 40 matrices with factors of 512 KiB"):
        digests = [digest(source) for source in matrices]
    assert {digest(matrices[0])} == set(digests)


def test_what_is_kept_of_a_matrix_is_its_factors_alone() -> None:
    new, base = merged("F32", 64, 80, 2)
    parts = found(new, base, "F32", (64, 80)).parts
    params = found(new, base, "F32", (64, 80)).params
    held = [
        Part(part.dtype, BytesSource(bytes(part.data.read(0, part.data.size)))) for part in parts
    ]
    watched = [weakref.ref(part.data) for part in held]
    source = LowRank().decode(Update(tuple(held), params), [BytesSource(base)], "F32", len(new))
    assert bytes(source.read(0, source.size)) == new
    del source, held
    gc.collect()
    assert [ref() for ref in watched] == [None] * len(parts)


def test_threads_that_read_a_matrix_share_its_factors() -> None:
    (source,), begin = told_matrices(512, 256, 1), Barrier(8)

    def read(number: int) -> bytes:
        begin.wait()
        return bytes(source.read(number * 2**17, 2**17))

    factors = 2 * 512 * 256 * 8
    with ThreadPoolExecutor(8) as pool, at_most(4 * factors, "reading a matrix in 8 threads"):
        parts = list(pool.map(read, range(8)))
    assert b"".join(parts) == bytes(source.read(0, source.size))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (struct.pack("<IHB", 0, 2, 53), "0 columns"),
        (struct.pack("<IHB", 81, 2, 53), "81 columns"),
        (struct.pack("<IHB", 80, 0, 53), "rank 0"),
        (struct.pack("<IHB", 80, 257, 53), "rank 257"),
        (struct.pack("<IHB", 80, 2, 24), "found 24 for F32"),
        (struct.pack("<IHB", 80, 2, 25), "found 25"),
        (struct.pack("<IHB", 40, 2, 53), "Expected parts"),
        (b"", "7 bytes of params"),
    ],
)
def test_params_that_fit_no_factors_are_refused(params: bytes, message: str) -> None:
    new, base = merged("F32", 64, 80, 2)
    update = found(new, base, "F32", (64, 80))
    with pytest.raises(PackError, match=message):
        LowRank().decode(Update(update.parts, params), [BytesSource(base)], "F32", len(new))
