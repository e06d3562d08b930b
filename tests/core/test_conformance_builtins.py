"""All that the kernel offers itself keeps the promises that plugins are held to."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import zstandard
from synthetic_merges import merged

from git_theta.dtypes import count_bytes
from git_theta.formats.npy import DTYPES, Npy
from git_theta.formats.safetensors import Safetensors
from git_theta.formats.safetensors_json import DTYPES as SAFETENSORS_DTYPES
from git_theta.formats.zip import Zip
from git_theta.serializers.planes import Planes
from git_theta.serializers.raw import Raw
from git_theta.serializers.rice import Rice
from git_theta.storage.folder import FolderStoreType
from git_theta.testing import (
    FormatConformance,
    Pair,
    SerializerConformance,
    StoreConformance,
    UpdateTypeConformance,
    Value,
)
from git_theta.testing.blocks import weights
from git_theta.updates.cast import Cast
from git_theta.updates.delta import Delta
from git_theta.updates.dense import Dense
from git_theta.updates.elementwise import narrowed, widened
from git_theta.updates.low_rank import LowRank
from git_theta.updates.patch import Patch
from git_theta.updates.recipe import Recipe
from git_theta.updates.residual import word
from git_theta.updates.scale import Scale
from git_theta.updates.sparse import Sparse

LARGE = 2**32
"""Bytes of a sparse file that no scan may hold in memory."""


# ---- formats -------------------------------------------------------------------------------------


def save_safetensors(groups: Mapping[str, Value], metadata: Mapping[str, str]) -> bytes:
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name, (dtype, shape, data) in groups.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + len(data)]}
        end += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(v.data for v in groups.values())


def load_safetensors(data: bytes) -> dict[str, Value]:
    library: Any = safetensors
    return {
        name: Value(found["dtype"], tuple(found["shape"]), bytes(found["data"]))
        for name, found in library.deserialize(data)
    }


WRITTEN = sorted(SAFETENSORS_DTYPES - {"F6_E2M3", "F6_E3M2"})
"""The dtypes that the library writes, too."""


class TestSafetensors(FormatConformance):
    format = Safetensors()
    writes = True

    def samples(self) -> Mapping[str, bytes]:
        shapes = {"matrix": (3, 8), "scalar": (), "none": (0, 7)}
        groups = {
            name: Value("F32", shape, weights("F32", count_bytes("F32", shape)))
            for name, shape in shapes.items()
        }
        widths = {
            d: Value(d, (2, 8), weights(d, 16 * 8)[: count_bytes(d, (2, 8))]) for d in WRITTEN
        }
        return {
            "model.safetensors": save_safetensors(groups, {"format": "pt", "über": '"\\n'}),
            "dtypes.safetensors": save_safetensors(widths, {}),
            "empty.safetensors": save_safetensors({}, {}),
        }

    def oracle(self, file: Path) -> Mapping[str, Value]:
        return load_safetensors(file.read_bytes())

    def large(self, folder: Path) -> Path:
        size = LARGE // 4
        header = {"x": {"dtype": "F32", "shape": [size], "data_offsets": [0, LARGE]}}
        text = json.dumps(header).encode()
        path = folder / "large.safetensors"
        path.write_bytes(len(text).to_bytes(8, "little") + text)
        with path.open("r+b") as file:
            file.truncate(8 + len(text) + LARGE)
        return path


class TestSafetensorsThatAreOnlyRead(FormatConformance):
    format = Safetensors()

    def samples(self) -> Mapping[str, bytes]:
        groups = {d: Value(d, (4, 4), weights("U8", 12)) for d in ("F6_E2M3", "F6_E3M2")}
        return {"six-bits.safetensors": save_safetensors(groups, {})}

    def oracle(self, file: Path) -> Mapping[str, Value]:
        return load_safetensors(file.read_bytes())


def save_npy(array: np.ndarray[Any, Any]) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def value_of(array: np.ndarray[Any, Any]) -> Value:
    little = array.astype(array.dtype.newbyteorder("<"))
    return Value(DTYPES[array.dtype.str[1:]], array.shape, little.tobytes())


def arrays() -> dict[str, np.ndarray[Any, Any]]:
    matrix = np.frombuffer(weights("F32", 4 * 60), "<f4").reshape(5, 12)
    made = {
        "matrix": matrix,
        "columns": np.asfortranarray(matrix),
        "cube": np.asfortranarray(matrix.reshape(3, 4, 5)),
        "swapped": matrix.astype(">f4"),
        "swapped-complex": matrix.astype(">c16").T,
        "scalar": np.array(2.5),
        "none": np.zeros((0, 3), np.float16),
    }
    return made | {code: np.arange(6).astype(code) for code in DTYPES}


class TestNpy(FormatConformance):
    format = Npy()
    writes = True

    def samples(self) -> Mapping[str, bytes]:
        return {f"{name}.npy": save_npy(array) for name, array in arrays().items()}

    def oracle(self, file: Path) -> Mapping[str, Value]:
        return {"array": value_of(np.load(file))}

    def large(self, folder: Path) -> Path:
        path = folder / "large.npy"
        np.lib.format.open_memmap(path, "w+", np.float32, (LARGE // 4,))
        return path


def load_zip(file: Path) -> dict[str, Value]:
    """The groups of all stored entries; zipfile checks their CRCs."""
    groups = {}
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            data = archive.read(info)
            if info.compress_type == zipfile.ZIP_STORED and info.filename.endswith(".npy"):
                array = np.load(io.BytesIO(data))
                groups[info.filename.removesuffix(".npy")] = value_of(array)
            elif info.compress_type == zipfile.ZIP_STORED and "safetensors" in info.filename:
                inner = load_safetensors(data).items()
                groups |= {f"{info.filename}/{name}": value for name, value in inner}
    return groups


class TestNpz(FormatConformance):
    format = Zip()
    writes = True
    memory_bound = 16 * 2**20

    def samples(self) -> Mapping[str, bytes]:
        out = io.BytesIO()
        save: Any = np.savez  # whose first keyword is a bool to mypy
        save(out, **arrays())
        return {"arrays.npz": out.getvalue()}

    def oracle(self, file: Path) -> Mapping[str, Value]:
        return load_zip(file)

    def large(self, folder: Path) -> Path:
        path = folder / "large.npz"
        np.savez(path, large=np.zeros(2**23))
        return path


class Unseekable(io.RawIOBase):
    """Makes zipfile write sizes and checksums behind the data instead of before it."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += data
        return len(data)


class TestZip(FormatConformance):
    format = Zip()

    def samples(self) -> Mapping[str, bytes]:
        group = Value("BF16", (4, 5), weights("BF16", 40))
        inner = save_safetensors({"w": group}, {})
        deflated = zipfile.ZipInfo("deflated.npy")
        deflated.compress_type = zipfile.ZIP_DEFLATED
        streamed, seekable = Unseekable(), io.BytesIO()
        for out in (streamed, seekable):
            with zipfile.ZipFile(out, "w") as archive:
                archive.writestr("notes.txt", "not a checkpoint")
                archive.writestr("folder/model.safetensors", inner)
                archive.writestr("bias.npy", save_npy(np.arange(7.0)))
                archive.writestr(deflated, save_npy(np.zeros(99)))
        return {"streamed.zip": bytes(streamed.data), "model.zip": seekable.getvalue()}

    def oracle(self, file: Path) -> Mapping[str, Value]:
        return load_zip(file)


# ---- serializers ---------------------------------------------------------------------------------


class TestRaw(SerializerConformance):
    serializer = Raw()


class TestPlanes(SerializerConformance):
    serializer = Planes()

    def hostile(self) -> list[tuple[bytes, str, int]]:
        bomb = zstandard.ZstdCompressor().compress(bytes(2**27))
        unsized = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(2**27))
        frames = (bomb, unsized, bomb[:-1], bomb + b"!", b"", bomb * 2)
        flagged = [((len(f) | 1 << 31).to_bytes(4, "little") + f, "U8", 1000) for f in frames]
        return [*flagged, (b"\xff" * 16, "F32", 16), (b"", "F32", 16), (b"\0" * 3, "U8", 0)]


class TestRice(SerializerConformance):
    serializer = Rice()
    dtypes = ("U8", "U16", "U32", "U64", "F4", "C64")  # all that differ to it, and two more

    def hostile(self) -> list[tuple[bytes, str, int]]:
        steps = bytes([8]) + b"\0" * 1000 + b"\x80"  # a k of 4,000
        return [(steps, "U32", 68), (b"\x39" + b"\xff" * 40, "U64", 8), (b"", "U32", 4)]


# ---- update types --------------------------------------------------------------------------------


class TestDense(UpdateTypeConformance):
    update_type = Dense()

    def pairs(self) -> dict[str, Pair]:
        return {
            dtype: Pair(weights(dtype, 4000), b"", dtype) for dtype in ("F32", "BF16", "U8", "C128")
        } | {"nothing": Pair(b"", b"", "F32")}


class TestPatch(UpdateTypeConformance):
    update_type = Patch()

    def pairs(self) -> dict[str, Pair]:
        base = weights("U8", 4000)
        return {
            "one byte": Pair(base[:99] + b"!" + base[100:], base, "U8"),
            "longer": Pair(b"begin" + base + base, base, "U8"),
            "shorter": Pair(base[1000:], base, "U8"),
            "of nothing": Pair(base, b"", "U8"),
        }


class TestDelta(UpdateTypeConformance):
    update_type = Delta()

    def pairs(self) -> dict[str, Pair]:
        base, other = weights("F32", 4000), weights("BF16", 4000)
        return {
            "near": Pair(bytes(byte ^ (at % 4 == 0) for at, byte in enumerate(base)), base, "F32"),
            "equal": Pair(other, other, "BF16"),
            "rows appended": Pair(base + weights("F32", 400, seed=1), base, "F32", (110, 10)),
            "rows removed": Pair(base[:2000], base, "F32"),
            "complex": Pair(base[::-1], base, "C64"),
        }


def scattered(dtype: str, nbytes: int, every: int) -> bytes:
    """The numbers of ``weights(dtype, nbytes)`` with one bit of every so many bytes flipped."""
    data = bytearray(weights(dtype, nbytes))
    data[::every] = bytes(byte ^ 1 for byte in data[::every])
    return bytes(data)


class TestSparse(UpdateTypeConformance):
    update_type = Sparse()

    def pairs(self) -> dict[str, Pair]:
        base, long = weights("F32", 4000), weights("U8", 3 * 2**16 + 5)
        return {
            "one number": Pair(base[:96] + b"!?.," + base[100:], base, "F32"),
            "equal numbers": Pair(base, base, "F32"),
            "several blocks": Pair(scattered("U8", len(long), 1000), long, "U8"),
            "rows appended": Pair(scattered("F32", 4000, 100) + base, base, "F32", (20, 100)),
            "rows removed": Pair(scattered("F32", 4000, 100)[:2000], base, "F32"),
            "complex": Pair(scattered("C64", 4000, 100), weights("C64", 4000), "C64"),
            "truths": Pair(scattered("BOOL", 4000, 100), weights("BOOL", 4000), "BOOL"),
            "half bytes": Pair(scattered("F4", 4000, 100), weights("F4", 4000), "F4"),
            "integers": Pair(scattered("I64", 8000, 1000), weights("I64", 8000), "I64"),
        }


def times(data: bytes, dtype: str, shape: tuple[int, ...], axis: int) -> bytes:
    """Numbers times a vector along an axis of their shape."""
    vector = np.random.default_rng(1).normal(1, 0.2, shape[axis]).astype("<f4")
    along = vector.reshape([-1 if at == axis else 1 for at in range(len(shape))])
    values = widened(np.frombuffer(data, word(dtype)), dtype).reshape(shape)
    return narrowed((values * along).ravel(), dtype)[0].tobytes()


class TestScale(UpdateTypeConformance):
    update_type = Scale()

    def pairs(self) -> dict[str, Pair]:
        matrix, cube = (20, 100), (4, 50, 10)
        base, half, wide = weights("F32", 8000), weights("BF16", 4000), weights("F64", 16000)
        rows = times(base, "F32", matrix, 0)
        damaged = rows[:400] + b"!?!?" + rows[404:]
        return {
            "rows": Pair(rows, base, "F32", matrix, matrix),
            "columns": Pair(times(base, "F32", matrix, 1), base, "F32", matrix, matrix),
            "nearly rows": Pair(damaged, base, "F32", matrix, matrix),
            "channels": Pair(times(half, "BF16", cube, 1), half, "BF16", cube, cube),
            "all alike": Pair(times(base, "F32", (1, 2000), 0), base, "F32"),
            "binary64": Pair(times(wide, "F64", matrix, 0), wide, "F64", matrix, matrix),
            "complex": Pair(rows, base, "C64", (20, 50), (20, 50)),
        }


def average(one: bytes, other: bytes, kind: str) -> bytes:
    return ((np.frombuffer(one, kind) + np.frombuffer(other, kind)) / 2).tobytes()


class TestLowRank(UpdateTypeConformance):
    update_type = LowRank()
    damages = 50

    def pairs(self) -> dict[str, Pair]:
        floats = ("F32", "F64", "BF16", "F16", "F8_E4M3", "F8_E5M2")
        found = {
            dtype: Pair(*merged(dtype, 96, 130, 2, size=30), dtype, (96, 130)) for dtype in floats
        }
        new, base = merged("BF16", 40, 700, 3, size=4)
        return found | {
            "blurred": Pair(new, base, "BF16", (40, 700)),
            "three dimensions": Pair(new, base, "BF16", (40, 7, 100)),
        }


class TestCast(UpdateTypeConformance):
    update_type = Cast()

    def pairs(self) -> dict[str, Pair]:
        wide = weights("F32", 8000)
        values = np.frombuffer(wide, "<f4")
        half = narrowed(values, "BF16")[0].tobytes()
        damaged = half[:400] + b"!?!?" + half[404:]
        return {
            "rounded": Pair(half, wide, "BF16", base_dtype="F32"),
            "nearly rounded": Pair(damaged, wide, "BF16", base_dtype="F32"),
            "widened": Pair(wide, half, "F32", base_dtype="BF16"),
            "complex": Pair(wide, narrowed(values, "F16")[0].tobytes(), "C64", base_dtype="C32"),
            "eight bits": Pair(half[1::2], half, "F8_E5M2", base_dtype="BF16"),
        }


class TestRecipe(UpdateTypeConformance):
    update_type = Recipe()

    def pairs(self) -> dict[str, Pair]:
        one, other = weights("F32", 8000), weights("F32", 8000, seed=1)
        wide = [weights("F64", 8000, seed=seed) for seed in (1, 2)]
        mean, mean64 = average(one, other, "<f4"), average(*wide, "<f8")
        damaged = mean[:400] + b"!?!?" + mean[404:]
        return {
            "average": Pair(mean, one, "F32", others=(weights("F32", 8000, seed=2), other)),
            "nearly an average": Pair(damaged, one, "F32", others=(other,)),
            "average of a longer base": Pair(mean[:4000], one, "F32", others=(other,)),
            "binary64": Pair(mean64, wide[0], "F64", others=(wide[1],)),
            "complex": Pair(mean, one, "C64", others=(other,)),
            "first rows": Pair(one[:4000], one, "F32", (100, 10), (200, 10)),
        }


# ---- stores --------------------------------------------------------------------------------------


class TestFolder(StoreConformance):
    store_type = FolderStoreType()
    bad_urls = ("file://elsewhere/folder", "file:///no/such/folder")

    def url(self, folder: Path) -> str:
        (folder / "a store").mkdir(exist_ok=True)
        return (folder / "a store").as_uri()

    def corrupt(self, folder: Path, pack: str) -> None:
        file = folder / "a store" / pack
        file.chmod(0o600)
        file.write_bytes(file.read_bytes()[:-1])
