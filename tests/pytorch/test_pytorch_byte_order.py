"""Checkpoints of big-endian machines, and those beyond 4 GiB, are read and spliced."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_oracle import CONTEXT, load, name_all, read, save, scan, splice

from git_theta.dtypes import scalar_bytes
from git_theta.source import BytesSource, FileSource
from theta_pytorch.pytorch_zip import PyTorch

CONTENT = {
    "f32": torch.arange(6.0).reshape(2, 3),
    "bf16": torch.arange(4.0).bfloat16(),
    "i64": torch.arange(5),
    "c128": torch.arange(3, dtype=torch.float64) * (1 + 2j),
    "c64": torch.tensor([1 + 2j, 3j]).to(torch.complex64),
    "u8": torch.arange(3, dtype=torch.uint8),
    "bool": torch.tensor([True, False]),
}


def with_byte_order(order: bytes | None, *, swapped: bool) -> bytes:
    """The content as a machine of a byte order saves it; None: torch before 2.1 did not say."""
    data = save(CONTENT)
    _, layout = scan(data)
    starts = {buffer.start: buffer for buffer in layout.buffers}
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for record in old.infolist():
            content = old.read(record)
            name = record.filename.partition("/")[2]
            at = data.find(content, record.header_offset) if name.startswith("data/") else -1
            if swapped and at in starts:
                width = scalar_bytes(starts[at].dtype)
                content = np.frombuffer(content, f"u{width}").byteswap().tobytes()
            if name == "byteorder":
                content = order or b""
            if name != "byteorder" or order:
                new.writestr(record.filename, content)
    return out.getvalue()


def test_big_endian_numbers_are_read_as_torch_reads_them() -> None:
    data = with_byte_order(b"big", swapped=True)
    assert read(data) == name_all(load(data)) == name_all(CONTENT)
    big = {buffer.dtype for buffer in scan(data)[1].buffers if buffer.big_endian}
    assert big == {"F32", "BF16", "I64", "C128", "C64"}


def test_splicing_a_big_endian_file_keeps_its_byte_order() -> None:
    data = with_byte_order(b"big", swapped=True)
    new = np.array([[1, -2, 3], [4, 5, 0.5]], ">f4")
    spliced = splice(data, {"f32": new.tobytes()})
    assert load(spliced)["f32"].tolist() == new.tolist()
    assert read(spliced) == name_all(load(spliced))
    with zipfile.ZipFile(io.BytesIO(spliced)) as archive:
        assert archive.testzip() is None


@pytest.mark.parametrize("order", [b"little", None])
def test_other_files_are_little_endian(order: bytes | None) -> None:
    data = with_byte_order(order, swapped=False)
    assert read(data) == name_all(load(data)) == name_all(CONTENT)


def test_legacy_files_are_little_endian_whatever_their_header_says() -> None:
    data = save({"f32": CONTENT["f32"]}, "pytorch-legacy")
    little = b"X\x0d\x00\x00\x00little_endianq\x02\x88"
    assert data.count(little) == 1
    from_big_machine = data.replace(little, little[:-1] + b"\x89")
    assert read(from_big_machine) == name_all(load(from_big_machine)) == read(data)


def test_every_zip_of_torch_is_a_zip64() -> None:
    data = save(CONTENT)
    assert b"PK\x06\x06" in data
    assert read(data) == name_all(load(data))


def test_a_file_beyond_4_gib_is_read_and_spliced(tmp_path: Path) -> None:
    path = tmp_path / "huge.pt"
    with torch.serialization.skip_data():  # leaves a hole where the numbers belong
        torch.save({"big": torch.empty(5 * 2**30, dtype=torch.uint8), "w": torch.ones(3)}, path)
    fd = os.open(path, os.O_RDWR)
    try:
        file = FileSource(fd)
        layout = PyTorch().scan(file, CONTEXT)
        buffers = {tensor.name: tensor.buffer for tensor in layout.tensors}
        assert [buffer.nbytes for buffer in layout.buffers] == [5 * 2**30, 12]
        new = np.array([1, 2, 3], "<f4").tobytes()
        spliced = PyTorch().splice(file, layout, {buffers["w"]: BytesSource(new)}, CONTEXT)
        start = layout.buffers[buffers["w"]].start
        assert start > 2**32
        os.pwrite(fd, spliced.read(start, spliced.size - start), start)
    finally:
        os.close(fd)
    assert torch.load(path, mmap=True)["w"].tolist() == [1, 2, 3]
    with zipfile.ZipFile(path) as archive:
        (record,) = (name for name in archive.namelist() if name.endswith("/data/1"))
        assert archive.read(record) == new
