"""NumPy's .npy files: a magic number, a small Python literal, one array.

The literal is read with a regular expression, not by Python's parser: there is little in it, and
it comes from a stranger. Arrays of objects, texts, times and records stay what they are, bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import accumulate
from operator import mul
from typing import IO, BinaryIO

from git_theta.checkpoint import Buffer, Layout, Tensor
from git_theta.dtypes import count_bytes, scalar_bytes
from git_theta.errors import CheckpointError, FormatMismatch, LimitExceeded
from git_theta.formats.interface import CheckpointFormat, ScanContext, TensorData
from git_theta.source import Source

MAGIC = b"\x93NUMPY"

GROUP = "array"
"""Name of the parameter group that an .npy file is."""

MAX_HEADER = 10_000
"""Bytes that the literal may take; numpy's own limit."""

DTYPES = {
    "b1": "BOOL",
    "i1": "I8",
    "i2": "I16",
    "i4": "I32",
    "i8": "I64",
    "u1": "U8",
    "u2": "U16",
    "u4": "U32",
    "u8": "U64",
    "f2": "F16",
    "f4": "F32",
    "f8": "F64",
    "c8": "C64",
    "c16": "C128",
}
"""safetensors' names of numpy's dtypes; ml_dtypes' (bfloat16) are saved as bare bytes."""

_LENGTHS = {b"\x01\x00": 2, b"\x02\x00": 4, b"\x03\x00": 4}  # bytes of the length, by version
_MAX_EXTENTS = 64  # dimensions that numpy can have

_ITEM = re.compile(
    r"""(?P<q>['"])(?P<key>\w+)(?P=q)\s*:\s*
    (?: (?P<r>['"])(?P<text>[^'"\\]*)(?P=r) | (?P<truth>True|False) | \((?P<tuple>[0-9L,\s]*)\) )
    \s*(?:,|$)\s*""",
    re.VERBOSE,
)
_EXTENT = r"\s*(?:0|[1-9][0-9]{0,18})L?\s*"  # Python 2 wrote its long numbers as 3L
_SHAPE = re.compile(rf"\s*|(?:{_EXTENT},)+(?:{_EXTENT}|\s*)")
_RECORDS = re.compile(r"""['"]descr['"]\s*:\s*[(\[]""")


class Npy(CheckpointFormat):
    """An array that ``numpy.save`` wrote."""

    name = "npy"

    def matches(self, head: bytes, path: str) -> bool:
        """Whether the magic number is there."""
        return head.startswith(MAGIC)

    def scan(self, file: Source, context: ScanContext) -> Layout:
        """Find the one group, `GROUP`; bytes behind the array stay in the skeleton."""
        descr, fortran, shape, start = _read_header(file)
        dtype, big_endian = _find_dtype(descr)
        nbytes = _count_bytes(dtype, shape, file.size - start)
        strides = None
        if fortran and len(shape) > 1:
            strides = tuple(accumulate(shape[:-1], mul, initial=1))
        buffer = Buffer(dtype, start, nbytes, big_endian)
        return Layout((buffer,), (Tensor(GROUP, dtype, shape, 0, 0, strides),))

    def write(
        self, tensors: Mapping[str, TensorData], template: Source | None, out: BinaryIO
    ) -> None:
        """Write the one group, row-major and little-endian; nothing of a template is kept."""
        if set(tensors) != {GROUP}:
            raise CheckpointError(
                f"An .npy file holds one group, {GROUP!r}, found {sorted(tensors)}",
                remedy="Save several groups as .npz",
            )
        write_array(tensors[GROUP], out, GROUP)


def write_array(tensor: TensorData, out: IO[bytes], name: str) -> None:
    """Write an array as ``numpy.save`` does, its header by numpy, its numbers block by block.

    Raises
    ------
    CheckpointError
        When numpy has no such dtype, or the group ``name`` has too few or too many bytes.
    """
    from numpy.lib.format import write_array_header_1_0

    codes = {dtype: code for code, dtype in DTYPES.items()}
    if tensor.dtype not in codes:
        raise CheckpointError(
            f"numpy's files cannot hold group {name!r} of dtype {tensor.dtype}",
            remedy="Save the checkpoint in another format, or convert the group",
        )
    nbytes = count_bytes(tensor.dtype, tensor.shape)
    if tensor.data.size != nbytes:
        raise CheckpointError(
            f"Expected {nbytes} bytes of group {name!r}, found {tensor.data.size}"
        )
    order = "|" if scalar_bytes(tensor.dtype) == 1 else "<"
    header = {"descr": order + codes[tensor.dtype], "fortran_order": False, "shape": tensor.shape}
    write_array_header_1_0(out, header)
    for block in tensor.data.blocks():
        out.write(block)


def _read_header(file: Source) -> tuple[str, bool, tuple[int, ...], int]:
    """The dtype, whether the array is column-major, its shape, and where it starts."""
    version = bytes(file.read(6, 2))
    width = _LENGTHS.get(version)
    if not width:
        raise CheckpointError(f"Expected .npy version 1, 2 or 3, found {version[0]}.{version[1]}")
    nbytes = int.from_bytes(file.read(8, width), "little")
    if nbytes > MAX_HEADER:
        raise LimitExceeded(f"Expected a header of at most {MAX_HEADER} bytes, found {nbytes}")
    text = str(file.read(8 + width, nbytes), "latin-1").strip()
    if _RECORDS.search(text):
        raise FormatMismatch("Expected an array of numbers, found one of records")
    items = list(_ITEM.finditer(text[1:-1].strip()))
    found = {item["key"]: item for item in items}
    if (
        text[:1] + text[-1:] != "{}"
        or "".join(item[0] for item in items) != text[1:-1].strip()
        or sorted(item["key"] for item in items) != ["descr", "fortran_order", "shape"]
        or found["descr"]["text"] is None
        or found["fortran_order"]["truth"] is None
        or found["shape"]["tuple"] is None
        or not _SHAPE.fullmatch(found["shape"]["tuple"])
    ):
        raise CheckpointError(f"Expected descr, fortran_order and shape, found {text[:80]!r}")
    extents = found["shape"]["tuple"].replace("L", "").split(",")
    shape = tuple(int(extent) for extent in extents if extent.strip())
    fortran = found["fortran_order"]["truth"] == "True"
    return found["descr"]["text"], fortran, shape, 8 + width + nbytes


def _find_dtype(descr: str) -> tuple[str, bool]:
    order, code = (descr[0], descr[1:]) if descr[:1] in "<>|" else ("<", descr)
    if code not in DTYPES:
        raise FormatMismatch(f"Expected an array of numbers, found the dtype {descr!r}")
    return DTYPES[code], order == ">" and scalar_bytes(DTYPES[code]) > 1


def _count_bytes(dtype: str, shape: tuple[int, ...], available: int) -> int:
    if len(shape) > _MAX_EXTENTS:
        raise LimitExceeded(f"Expected at most {_MAX_EXTENTS} dimensions, found {len(shape)}")
    nbytes = count_bytes(dtype, shape)
    if nbytes > available:
        raise CheckpointError(
            f"Expected {nbytes} bytes of {dtype} of shape {list(shape)}, found {available}"
        )
    return nbytes
