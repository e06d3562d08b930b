"""TensorFlow's, Keras's and HDF5 files pass git-theta's conformance kit."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from made_bundle import (
    NUMBERS,
    QINT8,
    STRING,
    Bundle,
    Made,
    field,
    header,
    make_bundle,
    make_table,
    varint,
)
from needs_framework import needs

from git_theta.testing import FormatConformance, Value
from theta_tensorflow.checkpoint import TensorFlow
from theta_tensorflow.hdf5_file import Hdf5
from theta_tensorflow.keras import Keras

RNG = np.random.default_rng(3)
VALUES = {
    "layer/kernel/.ATTRIBUTES/VARIABLE_VALUE": ("F32", RNG.standard_normal((6, 5), "f4")),
    "layer/bias/.ATTRIBUTES/VARIABLE_VALUE": ("F32", RNG.standard_normal(5, "f4")),
    "layer/half/.ATTRIBUTES/VARIABLE_VALUE": ("F16", np.ones((2, 2), "f2")),
    "layer/brain/.ATTRIBUTES/VARIABLE_VALUE": ("BF16", np.arange(7, dtype="u2")),
    "step": ("I64", np.array(17, "i8")),
    "flags": ("BOOL", np.array([True, False])),
    "nothing": ("F64", np.zeros((0, 3))),
}
EXPECTED = {name: Value(dtype, v.shape, v.tobytes()) for name, (dtype, v) in VALUES.items()}


def bundle(shards: int = 1, big_endian: bool = False) -> Bundle:
    tensors: dict[str | bytes, Made] = {}
    for number, (name, (dtype, value)) in enumerate(VALUES.items()):
        data = value.astype(value.dtype.newbyteorder(">")).tobytes() if big_endian else None
        data = value.tobytes() if data is None else data
        tensors[name] = Made(NUMBERS[dtype], value.shape, data, number % shards)
    tensors["_CHECKPOINTABLE_OBJECT_GRAPH"] = Made(STRING, (), b"\x05" + bytes(4) + b"graph")
    tensors["quantized"] = Made(QINT8, (3,), b"\1\2\3")
    tensors |= {f"many/{n}": Made(1, (), np.float32(n).tobytes()) for n in range(20)}
    return make_bundle(tensors, shards=shards, big_endian=big_endian)


class TestTensorFlow(FormatConformance):
    format = TensorFlow()
    by_content = False
    damages = 100
    bundles: ClassVar[dict[str, Bundle]] = {
        "model/variables.data-00000-of-00001": bundle(),
        ".data-00000-of-00001": bundle(),
        "big.data-00000-of-00001": bundle(big_endian=True),
        "two.data-00001-of-00002": bundle(2),
    }

    def samples(self) -> Mapping[str, bytes]:
        return {name: made.shards[int(name[-14:-9])] for name, made in self.bundles.items()}

    def beside(self, name: str) -> Mapping[str, bytes]:
        prefix = name.rpartition("/")[2].partition(".data-")[0]
        if prefix == "large":
            numbers = b"".join(
                (field(1, varint(1)), field(2, field(2, field(1, varint(2**28)), 2), 2))
            )
            entry = numbers + field(5, varint(2**30))
            return {"large.index": make_table([(b"", header(1)), (b"x", entry)])}
        return {f"{prefix}.index": self.bundles[name].index}

    def large(self, folder: Path) -> Path:
        path = folder / "large.data-00000-of-00001"
        with path.open("wb") as out:
            out.truncate(2**30)
        return path

    def expected(self, name: str) -> Mapping[str, Value]:
        if name.endswith("2"):
            return {n: v for i, (n, v) in enumerate(EXPECTED.items()) if i % 2}
        more = {f"many/{n}": Value("F32", (), np.float32(n).tobytes()) for n in range(20)}
        if name.startswith("big"):
            more = {n: Value(v[0], v[1], v[2][::-1]) for n, v in more.items()}
        return EXPECTED | more | {"quantized": Value("I8", (3,), b"\1\2\3")}


def hdf5(**options: Any) -> bytes:
    h5py = needs("h5py")
    out = io.BytesIO()
    with h5py.File(out, "w", **options) as file:
        group = file.create_group("layers/dense/vars")
        group["0"] = RNG.standard_normal((8, 3), "f4")
        group["1"] = RNG.standard_normal(3, "f4").astype(">f4")
        file.attrs["config"] = '{"class_name": "Dense"}'
        file["half"] = np.ones(3, "f2")
        file["flags"] = np.array([True, False, True])
        file["step"] = np.int64(5)
        file["empty"] = np.zeros((0, 2), "f8")
        file["alias"] = file["half"]
        file["again"] = file["layers"]
        file["soft"] = h5py.SoftLink("/half")
        brain = file.create_dataset("brain", data=np.arange(5, dtype="u2").view("V2"))
        brain.attrs["dtype"] = "bfloat16"
        file.create_dataset("chunked", data=np.ones((50, 50)), chunks=(10, 10), compression="gzip")
        file["text"] = "words"
        for number in range(12):
            file[f"many/{number:02}"] = np.full(number, number, "i4")
    return out.getvalue()


def read_hdf5(file: Path) -> Mapping[str, Value]:
    """What h5py reads of contiguous numeric datasets, except for bfloat16."""
    h5py = needs("h5py")
    names = {"f": "F", "i": "I", "u": "U"}
    found: dict[str, Value] = {}

    def visit(group: Any, prefix: str, seen: frozenset[Any]) -> None:
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink) or group[name].id in seen:
                continue
            item = group[name]
            if isinstance(item, h5py.Group):
                if (item.id.__hash__()) not in groups:
                    groups.add(item.id.__hash__())
                    visit(item, f"{prefix}{name}/", seen)
            elif item.chunks is None and item.dtype.kind in "fiubV":
                value = item[()]
                dtype = {"b": "BOOL", "V": "BF16"}.get(item.dtype.kind)
                dtype = dtype or f"{names[item.dtype.kind]}{8 * item.dtype.itemsize}"
                if item.dtype.byteorder == ">":
                    value = value.astype(item.dtype.newbyteorder("<"))
                found[f"{prefix}{name}"] = Value(dtype, item.shape, value.tobytes())

    groups: set[int] = set()
    with h5py.File(file) as opened:
        visit(opened, "", frozenset())
    return found


class TestHdf5(FormatConformance):
    format = Hdf5()
    writes = True

    def samples(self) -> Mapping[str, bytes]:
        return {"model.weights.h5": hdf5(), "latest.h5": hdf5(libver="latest")}

    def large(self, folder: Path) -> Path:
        path = folder / "large.h5"
        with needs("h5py").File(path, "w") as file:
            file.create_dataset("x", (2**28,), "f4")[-1] = 1
        return path

    def oracle(self, file: Path) -> Mapping[str, Value]:
        return read_hdf5(file)


class TestKeras(FormatConformance):
    format = Keras()

    def samples(self) -> Mapping[str, bytes]:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("metadata.json", "{}")
            archive.writestr("config.json", "{}")
            archive.writestr("model.weights.h5", hdf5())
        return {"model.keras": out.getvalue()}

    def oracle(self, file: Path) -> Mapping[str, Value]:
        with zipfile.ZipFile(file) as archive:
            weights = file.with_name("inside.h5")
            weights.write_bytes(archive.read("model.weights.h5"))
        return read_hdf5(weights)


@pytest.mark.parametrize("name", ["h5py"])
def test_what_the_kit_compares_with_is_there(name: str) -> None:
    assert needs(name)
