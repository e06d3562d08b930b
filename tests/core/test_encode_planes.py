"""Blocks of every dtype survive the serializers, one by one and many at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_theta.dtypes import BITS, scalar_bytes
from git_theta.errors import PackError
from git_theta.serializers.planes import Planes
from git_theta.serializers.raw import Raw
from git_theta.testing.blocks import typical_blocks, weights

PLANES = Planes()
DTYPES = sorted(BITS)


@given(st.sampled_from(DTYPES), st.binary(max_size=600), st.integers(0, 2**32))
def test_any_bytes_come_back(dtype: str, head: bytes, seed: int) -> None:
    data = head + weights(dtype, 1600, seed=seed)
    data = data[: len(data) // 16 * 16]
    for serializer in (PLANES, Raw()):
        encoded = serializer.encode(data, dtype)
        assert bytes(serializer.decode(encoded, dtype, len(data))) == data
        assert bytes(serializer.decode(memoryview(encoded), dtype, len(data))) == data


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [[16], [2048, 16], [16, 7200, 48, 48, 7200], [8192] * 9])
def test_many_short_blocks_come_back(dtype: str, sizes: list[int]) -> None:
    for what, data in typical_blocks(dtype, sum(sizes)):
        stored, lengths = PLANES.encode_blocks(data, sizes, dtype)
        assert sum(lengths) == len(stored), what
        decoded = PLANES.decode_blocks(stored, lengths, sizes, dtype)
        assert bytes(decoded) == data, what
        at = start = 0
        for size, length in zip(sizes, lengths, strict=True):  # each can be read by itself
            plain = data[start : start + size]
            assert length <= len(plain), what
            one = bytes(stored[at : at + length])
            at, start = at + length, start + size
            assert (
                one if length == len(plain) else bytes(PLANES.decode(one, dtype, len(plain)))
            ) == plain


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16", "F64", "C64"])
def test_sign_is_the_lowest_bit_and_the_exponent_the_last_plane(dtype: str) -> None:
    """As the specification says: planes from the lowest byte, after a rotation by one bit."""
    width = scalar_bytes(dtype)
    data = weights(dtype, 64 * width)
    words = [int.from_bytes(data[n : n + width], "little") for n in range(0, len(data), width)]
    top = 8 * width - 1
    rotated = [(word << 1 & (1 << 8 * width) - 1) | word >> top for word in words]
    planes = [bytes(word >> 8 * k & 255 for word in rotated) for k in range(width)]
    header = b"".join(len(plane).to_bytes(4, "little") for plane in planes)
    assert bytes(PLANES.decode(header + b"".join(planes), dtype, len(data))) == data


def test_weights_shrink_as_measured() -> None:
    data = weights("F32", 2**22)
    assert len(PLANES.encode(data, "F32")) < 0.86 * len(data)
    data = weights("BF16", 2**21)
    assert len(PLANES.encode(data, "BF16")) < 0.7 * len(data)
    noise = np.random.default_rng(0).bytes(2**20)
    assert len(PLANES.encode(noise, "F32")) <= len(noise) + 16


@pytest.mark.parametrize("dtype", DTYPES)
def test_wrong_lengths_are_refused(dtype: str) -> None:
    data = weights(dtype, 960)
    encoded = PLANES.encode(data, dtype)
    for wrong in (encoded[:-1], encoded + b"\0", b"", b"\xff" * len(encoded), encoded[::-1]):
        with pytest.raises(PackError):
            PLANES.decode(wrong, dtype, len(data))
    for nbytes in (0, 480, 961, 1920, 2**23):
        with pytest.raises(PackError):
            PLANES.decode(encoded, dtype, nbytes)
