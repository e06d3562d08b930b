"""The safetensors format: eight bytes of length, a JSON header, the tensors' bytes.

What is read here is what :mod:`~git_theta.formats.safetensors_header` finds valid. The index.json
of a sharded checkpoint is a file like any other: git stores it as it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from git_theta.checkpoint import Layout
from git_theta.dtypes import count_bytes
from git_theta.errors import CheckpointError
from git_theta.formats.interface import CheckpointFormat, ScanContext, TensorData
from git_theta.formats.safetensors_header import find_tensors, read_header
from git_theta.source import FileSource, Source

_MAX_HEADER = 100_000_000  # the library's own cap, in bytes

_LIBRARY_NAMES = {
    "BOOL": "bool",
    "F4": "float4_e2m1fn_x2",
    "U8": "uint8",
    "I8": "int8",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "U16": "uint16",
    "I16": "int16",
    "F16": "float16",
    "BF16": "bfloat16",
    "U32": "uint32",
    "I32": "int32",
    "F32": "float32",
    "U64": "uint64",
    "I64": "int64",
    "F64": "float64",
    "C64": "complex64",
}
"""What the library's ``serialize_file`` calls the dtypes; it reads F6_*, and writes none."""


class Safetensors(CheckpointFormat):
    """Checkpoints of the safetensors library, and of those who write the same."""

    name = "safetensors"

    def matches(self, head: bytes, path: str) -> bool:
        """Whether a plausible length and an opening brace come first."""
        return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _MAX_HEADER

    def scan(self, file: Source, context: ScanContext) -> Layout:
        """Find the groups; each has a buffer of its own, in the order of the file's bytes."""
        header, start = read_header(file)
        return Layout(*find_tensors(header, start, file.size))

    def write(
        self, tensors: Mapping[str, TensorData], template: Source | None, out: BinaryIO
    ) -> None:
        """Write a file through the safetensors library; ``__metadata__`` is the template's.

        Memory does not grow with the tensors: the library is given zeros, of which the system
        keeps one page, and the true bytes are put in their place while the file is copied. The
        library writes metadata in another order each time, so it is put in here, in its own order.
        """
        import tempfile  # here, since a filter writes none

        metadata = read_header(template)[0].metadata if template else {}
        with tempfile.TemporaryDirectory(dir=_folder_of(out)) as folder:
            path = Path(folder, "zeros.safetensors")
            _serialize_zeros(tensors, path)
            with path.open("rb") as zeros:
                source = FileSource(zeros.fileno())
                header, start = read_header(source)
                buffers, found = find_tensors(header, start, source.size)
                text = bytes(source.read(8, start - 8)).rstrip()
        out.write(_join_header(metadata, text))
        for buffer, tensor in zip(buffers, found, strict=True):
            data = tensors[tensor.name].data
            if data.size != buffer.nbytes:
                raise CheckpointError(
                    f"Expected {buffer.nbytes} bytes of group {tensor.name!r}, found {data.size}"
                )
            for block in data.blocks():
                out.write(block)


def _folder_of(out: BinaryIO) -> Path | None:
    """The folder of an output file, which has the room; the system's where it is no file."""
    name = getattr(out, "name", None)
    return Path(name).resolve().parent if isinstance(name, str) else None


def _join_header(metadata: Mapping[str, str], text: bytes) -> bytes:
    """A header with its length, padded with spaces to eight bytes as the library does it."""
    if metadata:
        import json

        texts = json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode()
        comma = b"," if text != b"{}" else b""
        text = b'{"__metadata__":' + texts + comma + text.removeprefix(b"{")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _serialize_zeros(tensors: Mapping[str, TensorData], path: Path) -> None:
    import numpy as np
    from safetensors import SafetensorError, TensorSpec, serialize_file

    sizes = {name: _count(name, tensor) for name, tensor in tensors.items()}
    zeros = np.zeros(max(sizes.values(), default=0), np.uint8)
    specs = {
        name: TensorSpec(
            dtype=_LIBRARY_NAMES[tensor.dtype],
            shape=_stored_shape(name, tensor),
            data_ptr=zeros.ctypes.data,
            data_len=sizes[name],
        )
        for name, tensor in tensors.items()
    }
    try:
        serialize_file(specs, str(path))
    except SafetensorError as fault:
        if refused := re.search(r"os error (\d+)", str(fault)):  # of the system: the disk is full
            number = int(refused[1])
            raise OSError(number, os.strerror(number), str(path)) from fault
        raise CheckpointError(f"safetensors cannot hold these groups: {fault}") from fault


def _count(name: str, tensor: TensorData) -> int:
    if name == "__metadata__" or tensor.dtype not in _LIBRARY_NAMES:
        raise CheckpointError(
            f"safetensors cannot hold group {name!r} of dtype {tensor.dtype}",
            remedy="Save the checkpoint in another format, or rename or convert the group",
        )
    try:
        return count_bytes(tensor.dtype, tensor.shape)
    except ValueError as fault:
        raise CheckpointError(f"Group {name!r}: {fault}") from fault


def _stored_shape(name: str, tensor: TensorData) -> list[int]:
    """The shape as the library wants it: two F4 numbers count as one."""
    shape = list(tensor.shape)
    if tensor.dtype == "F4":
        if not shape or shape[-1] % 2:
            raise CheckpointError(f"safetensors cannot write F4 group {name!r} of shape {shape}")
        shape[-1] //= 2
    return shape
