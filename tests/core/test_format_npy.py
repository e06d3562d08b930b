""".npy files are read as numpy reads them, without numpy."""

from __future__ import annotations

import io
import subprocess
import sys
import tokenize
import warnings
from typing import Any

import numpy as np
import numpy.lib.format as numpy_format
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from git_theta.checkpoint import Layout, check_layout
from git_theta.dtypes import BITS
from git_theta.errors import CheckpointError, FormatMismatch, LimitExceeded
from git_theta.formats.detect import UNKNOWN, Context, detect
from git_theta.formats.interface import TensorData
from git_theta.formats.npy import DTYPES, Npy
from git_theta.plugins import Plugins
from git_theta.source import BytesSource
from git_theta.testing.values import read_values

FORMAT = Npy()
NUMBERS = st.builds(
    lambda code, order: np.dtype(order + code),
    st.sampled_from(sorted(DTYPES)),
    st.sampled_from("<>"),
)


def save(array: np.ndarray[Any, Any], version: tuple[int, int] | None = None) -> bytes:
    out = io.BytesIO()
    numpy_format.write_array(out, array, version)
    return out.getvalue()


def with_header(text: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    width = 2 if version == b"\x01\x00" else 4
    length = len(text).to_bytes(width, "little")
    return b"\x93NUMPY" + version + length + text.encode("latin-1") + data


def scan(file: bytes) -> Layout:
    assert FORMAT.matches(file[:4096], "")
    layout = FORMAT.scan(BytesSource(file), Context(Plugins(), "x.npy"))
    check_layout(layout, len(file))
    return layout


@given(
    arrays.arrays(NUMBERS, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)),
    st.sampled_from("CF"),
    st.sampled_from([(1, 0), (2, 0), (3, 0)]),
)
def test_any_array_of_numbers_reads_back(
    array: np.ndarray[Any, Any], order: Any, version: tuple[int, int]
) -> None:
    file = save(np.asarray(array, order=order), version)
    (found,) = read_values(BytesSource(file), scan(file)).values()
    assert tuple(found.shape) == array.shape
    assert found.dtype == DTYPES[array.dtype.str[1:]]
    assert found.data == array.astype(array.dtype.newbyteorder("<")).tobytes()


def test_the_byte_order_stands_at_the_buffer() -> None:
    assert scan(save(np.ones(3, ">f4"))).buffers[0].big_endian
    assert not scan(save(np.ones(3, "<f4"))).buffers[0].big_endian
    assert not scan(save(np.ones(3, ">i1"))).buffers[0].big_endian


def test_bytes_behind_the_array_belong_to_no_buffer() -> None:
    file = save(np.arange(4.0))
    assert scan(file + b"trailing bytes") == scan(file)


def test_shapes_that_python_2_wrote_are_read() -> None:
    file = with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 1L), }\n", bytes(8))
    assert scan(file).tensors[0].shape == (2, 1)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(2, [("x", "<f4"), ("y", "<i2", (3,))]),
        np.array(["text"]),
        np.array([b"bytes"]),
        np.array(["2024-01-01"], "M8[D]"),
        np.zeros(2, "V2"),  # what ml_dtypes' bfloat16 is saved as
        np.zeros(2, np.longdouble),
        np.array([{"a": 1}], object),
    ],
    ids=lambda array: str(array.dtype),
)
def test_other_arrays_are_unknown_files_without_a_warning(array: np.ndarray[Any, Any]) -> None:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    with pytest.raises(FormatMismatch):
        scan(out.getvalue())
    found = detect(BytesSource(out.getvalue()), "x.npy", Plugins())
    assert (found.formats, found.warning) == ((UNKNOWN,), "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "{'descr': '<f4', 'fortran_order': False}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'more': 'x'}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2.0,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (02,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': 'x'}",
        "{'descr': '<f4', 'fortran_order': 'False', 'shape': (2,)}",
        "{'descr': '<f4', 'fortran_order': 1, 'shape': (2,)}",
        "{'descr': True, 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)",
        "{'descr': '<f4' 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999999999,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1" * 5000 + ",)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1," * 65 + ")}",
        "{'descr': __import__('os').system('false'), 'fortran_order': False, 'shape': (2,)}",
    ],
)
def test_headers_that_numpy_refuses_are_refused(text: str) -> None:
    file = with_header(text, bytes(8))
    with pytest.raises((ValueError, tokenize.TokenError)):
        np.load(io.BytesIO(file))
    with pytest.raises(CheckpointError):
        scan(file)


@given(st.data())
def test_whatever_is_read_of_a_damaged_header_numpy_reads_too(data: st.DataObject) -> None:
    text = bytearray(b"{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }")
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from([b"", b"'", b",", b"1", b"0", b"(", b")", b" ", b"L", b"8", b">", b"i"])
        )
    file = with_header(text.decode("latin-1"), bytes(999))
    try:
        layout = scan(file)
    except CheckpointError:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy warns of what Python 2 wrote
        array = np.load(io.BytesIO(file))
    assert layout.tensors[0].shape == array.shape
    assert layout.tensors[0].dtype == DTYPES[array.dtype.str[1:]]
    expected = array.astype(array.dtype.newbyteorder("<")).tobytes()
    assert read_values(BytesSource(file), layout)["array"].data == expected


def test_duplicate_keys_are_refused() -> None:
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'shape': (1,)}"
    with pytest.raises(CheckpointError, match="shape"):
        scan(with_header(text, bytes(8)))


def test_long_headers_and_other_versions_are_refused() -> None:
    with pytest.raises(LimitExceeded):
        scan(with_header(" " * 10_001, version=b"\x02\x00"))
    with pytest.raises(CheckpointError, match="version"):
        scan(with_header("{}", version=b"\x04\x00"))


def test_reading_imports_no_numpy() -> None:
    code = "import sys, git_theta.formats.builtin as b; b.theta_checkpoint_formats(); "
    code += "sys.exit('numpy' in sys.modules or 'safetensors' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- writing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", sorted(DTYPES))
def test_a_new_file_is_what_numpy_writes(code: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(code)
    out = io.BytesIO()
    group = TensorData(DTYPES[code], array.shape, BytesSource(array.tobytes()))
    FORMAT.write({"array": group}, None, out)
    assert out.getvalue() == save(array)


@pytest.mark.parametrize("dtype", sorted(BITS.keys() - set(DTYPES.values())))
def test_dtypes_that_numpy_lacks_are_refused(dtype: str) -> None:
    group = TensorData(dtype, (8,), BytesSource(bytes(BITS[dtype])))
    with pytest.raises(CheckpointError, match=dtype):
        FORMAT.write({"array": group}, None, io.BytesIO())


def test_what_one_array_cannot_hold_is_refused() -> None:
    group = TensorData("F32", (1,), BytesSource(bytes(4)))
    short = TensorData("F32", (2,), BytesSource(bytes(4)))
    for groups in ({}, {"other": group}, {"array": group, "b": group}, {"array": short}):
        with pytest.raises(CheckpointError):
            FORMAT.write(groups, None, io.BytesIO())
