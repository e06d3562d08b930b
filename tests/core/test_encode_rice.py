"""Rice codes: any numbers come back, many blocks at once as each by itself, and few bytes."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_theta.errors import PackError
from git_theta.serializers.rice import Rice

RICE = Rice()
WIDTHS = {"U8": 1, "U16": 2, "U32": 4, "U64": 8}


@st.composite
def blocks(draw: st.DrawFn) -> tuple[str, list[bytes]]:
    dtype = draw(st.sampled_from(sorted(WIDTHS)))
    bits = st.integers(0, 8 * WIDTHS[dtype])
    numbers = bits.flatmap(lambda n: st.integers(0, 2**n - 1))
    found = draw(st.lists(st.lists(numbers, min_size=1, max_size=70), min_size=1, max_size=8))
    return dtype, [np.array(one, f"<u{WIDTHS[dtype]}").tobytes() for one in found]


@given(blocks())
def test_blocks_together_are_encoded_as_each_by_itself(made: tuple[str, list[bytes]]) -> None:
    dtype, plain = made
    sizes = list(map(len, plain))
    data, lengths = RICE.encode_blocks(b"".join(plain), sizes, dtype)
    alone = [bytes(RICE.encode(one, dtype)) for one in plain]
    kept = [a if len(a) < len(p) else p for a, p in zip(alone, plain, strict=True)]
    assert (data, lengths) == (b"".join(kept), list(map(len, kept)))
    assert bytes(RICE.decode_blocks(data, lengths, sizes, dtype)) == b"".join(plain)
    for one, encoded in zip(plain, alone, strict=True):
        assert bytes(RICE.decode(encoded, dtype, len(one))) == one


@given(st.binary(max_size=60), st.sampled_from(sorted(WIDTHS)), st.integers(0, 600))
def test_any_bytes_are_refused_or_give_the_length_that_was_asked(
    data: bytes, dtype: str, nbytes: int
) -> None:
    with suppress(PackError):
        assert len(RICE.decode(data, dtype, nbytes)) == nbytes


@given(blocks(), st.data())
def test_lengths_that_lie_are_refused_or_kept_to(
    made: tuple[str, list[bytes]], draw: st.DataObject
) -> None:
    dtype, plain = made
    sizes = list(map(len, plain))
    data, lengths = RICE.encode_blocks(b"".join(plain), sizes, dtype)
    lengths = draw.draw(st.permutations(lengths))
    with suppress(PackError):
        assert len(RICE.decode_blocks(data, lengths, sizes, dtype)) == sum(sizes)


def test_numbers_around_zero_take_little_more_than_their_entropy() -> None:
    """Of normally distributed numbers: log2(s) + 2.05 bits each, 0.03 to 0.3 more in Rice codes."""
    rng = np.random.default_rng(0)
    for deviation in (50, 3_000, 1_000_000):
        steps = np.rint(deviation * rng.standard_normal(384)).astype(np.int64)
        words = np.where(steps < 0, -2 * steps - 1, 2 * steps).astype("<u4")
        entropy = np.log2(deviation) + 2.05
        assert 8 * len(RICE.encode(words.tobytes(), "U32")) < (entropy + 0.5) * 384


def test_a_block_of_more_numbers_than_a_block_has_is_refused() -> None:
    with pytest.raises(PackError, match="Rice codes"):
        RICE.decode(b"\xff" * 2**16, "U8", 2**16 + 1)
