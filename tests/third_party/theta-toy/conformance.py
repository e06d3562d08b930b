"""The plugin's own tests: git-theta's conformance kit. Run with ``pytest conformance.py``."""

from __future__ import annotations

import io
import sqlite3
import struct
import zlib
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
from theta_toy.formats import Toy
from theta_toy.parts import ToyParts
from theta_toy.serializers import Deflate
from theta_toy.stores import DatabaseType
from theta_toy.updates import Xor

from git_theta.formats.interface import TensorData
from git_theta.source import BytesSource
from git_theta.testing import (
    FormatConformance,
    Pair,
    SerializerConformance,
    StoreConformance,
    UpdateTypeConformance,
    Value,
)


class TestToy(FormatConformance):
    format = Toy()
    writes = True

    def samples(self) -> Mapping[str, bytes]:
        vectors = {"weight": np.arange(50, dtype="<f4"), "bias": np.zeros(0, "<f4")}
        tensors = {
            name: TensorData("F32", vector.shape, BytesSource(vector.tobytes()))
            for name, vector in vectors.items()
        }
        out = io.BytesIO()
        Toy().write(tensors, None, out)
        return {"model.toy": out.getvalue()}

    def oracle(self, file: Path) -> Mapping[str, Value]:
        data = file.read_bytes()
        assert struct.unpack(">I", data[-4:]) == (zlib.crc32(data[:-4]),)
        weight = np.frombuffer(data, ">f4", 50, 4 + 10 + len("weight")).astype("<f4")
        return {"weight": Value("F32", (50,), weight.tobytes()), "bias": Value("F32", (0,), b"")}


class TestToyParts(FormatConformance):
    format = ToyParts()
    by_content = False
    writes = True

    def samples(self) -> Mapping[str, bytes]:
        return {"part/model.toyd": np.arange(5, dtype="<f4").tobytes()}

    def beside(self, name: str) -> Mapping[str, bytes]:
        return {"model.toyi": _index(np.arange(3, dtype="<f4"), np.arange(3, 5, dtype="<f4"))}

    def oracle(self, file: Path) -> Mapping[str, Value]:
        data, found, at = file.read_bytes(), {}, 0
        for line in file.with_suffix(".toyi").read_text().splitlines():
            name, count, crc = line.split(" ")
            part = data[at : at + 4 * int(count)]
            assert f"{zlib.crc32(part):08x}" == crc
            found[name] = Value("F32", (int(count),), part)
            at += len(part)
        return found


def _index(*vectors: np.ndarray) -> bytes:
    lines = (f"{n} {len(v)} {zlib.crc32(v.tobytes()):08x}\n" for n, v in enumerate(vectors))
    return "".join(lines).encode()


class TestDeflate(SerializerConformance):
    serializer = Deflate()
    dtypes = ("F32", "BF16", "U8", "F4")

    def hostile(self) -> list[tuple[bytes, str, int]]:
        return [(zlib.compress(bytes(2**26)), "U8", 1000)]


class TestXor(UpdateTypeConformance):
    update_type = Xor()

    def pairs(self) -> dict[str, Pair]:
        base = np.linspace(-1, 1, 500, dtype="<f4")
        return {"a step": Pair((base * 1.01).tobytes(), base.tobytes(), "F32")}


class TestDatabase(StoreConformance):
    store_type = DatabaseType()
    bad_urls = ("toy://", "toy:///no/such/folder/x.db", "toy://host/x.db")

    def url(self, folder: Path) -> str:
        return f"toy://{folder}/packs.db"

    def corrupt(self, folder: Path, pack: str) -> None:
        with closing(sqlite3.connect(folder / "packs.db")) as db, db:
            db.execute("UPDATE rows SET data = x'00' WHERE pack = ? AND number = 0", (pack,))
