"""Sizes of dtypes are those of safetensors and numpy."""

from __future__ import annotations

import numpy as np
import pytest

from git_theta.dtypes import BITS, SCALAR, count_bytes, scalar_bytes

NUMPY = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "U16": "u2",
    "I16": "i2",
    "F16": "f2",
    "U32": "u4",
    "I32": "i4",
    "F32": "f4",
    "U64": "u8",
    "I64": "i8",
    "F64": "f8",
    "C64": "c8",
    "C128": "c16",
}


@pytest.mark.parametrize("dtype", NUMPY)
def test_element_takes_what_numpy_says(dtype: str) -> None:
    assert np.dtype(NUMPY[dtype]).itemsize * 8 == BITS[dtype]
    assert count_bytes(dtype, (3, 5)) == np.zeros((3, 5), NUMPY[dtype]).nbytes


@pytest.mark.parametrize("dtype", BITS)
def test_element_is_one_scalar_or_a_pair(dtype: str) -> None:
    assert scalar_bytes(dtype) * 8 == max(8, BITS[dtype]) // (2 if dtype in SCALAR else 1)
    assert BITS[SCALAR.get(dtype, dtype)] * (2 if dtype in SCALAR else 1) == BITS[dtype]


def test_elements_below_a_byte_fill_whole_bytes() -> None:
    assert count_bytes("F4", (3, 2)) == 3
    assert count_bytes("F6_E2M3", (4,)) == 3
    assert count_bytes("F4", (0, 7)) == 0
    with pytest.raises(ValueError, match=r"F4 of shape \[3\] ends inside a byte"):
        count_bytes("F4", (3,))


def test_scalar_has_one_element() -> None:
    assert count_bytes("F64", ()) == 8
    assert count_bytes("F64", (2**40, 0)) == 0
