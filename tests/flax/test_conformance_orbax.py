"""The formats of Orbax folders keep what plugins are held to, tensorstore as the oracle."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import flax_oracle as oracle
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tensorstore as ts

from git_theta.testing import FormatConformance, Value
from theta_flax.ocdbt.format import Ocdbt
from theta_flax.zarr.format import Zarr

Files = dict[str, bytes]


def tree() -> dict[str, Any]:
    kernel = np.random.default_rng(5).standard_normal((40, 30), np.float32)
    return {
        "params": {"kernel": jnp.asarray(kernel), "bias": jnp.arange(600, dtype=jnp.bfloat16)},
        "cut": jnp.arange(2400, dtype=jnp.int32).reshape(60, 40),
        "flags": jnp.arange(2000) % 3 == 0,
        "step": 7,
    }


@cache
def saved(
    ocdbt: bool, zarr3: bool, chunk_bytes: int | None = 2400, compressed: bool = False
) -> Files:
    """The files of an Orbax checkpoint, by path from its folder; ``cut`` lies in several chunks."""
    options: dict[str, Any] = {name: ocp.SaveArgs() for name in ("flags", "step")}
    options["params"] = {name: ocp.SaveArgs() for name in ("kernel", "bias")}
    options["cut"] = ocp.SaveArgs(chunk_byte_size=chunk_bytes)
    handler = ocp.PyTreeCheckpointHandler(
        use_ocdbt=ocdbt, use_zarr3=zarr3, use_compression=compressed
    )
    with TemporaryDirectory() as folder, ocp.Checkpointer(handler) as checkpointer:
        path = Path(folder, "saved")
        checkpointer.save(path, args=ocp.args.PyTreeSave(tree(), save_args=options))
        files = (file for file in path.rglob("*") if file.is_file())
        return {f"ckpt/{file.relative_to(path)}": file.read_bytes() for file in files}


def near(name: str, folder: str, files: Files) -> Files:
    """The files of a folder as they are called from a file in it."""
    up = "../" * name.removeprefix(f"{folder}/").count("/")
    return {
        up + path.removeprefix(f"{folder}/"): data
        for path, data in files.items()
        if path.startswith(f"{folder}/") and path != name
    }


def read_group(array: Any, key: str) -> Value:
    """What tensorstore reads for one key of an array, its chunk."""
    grid = array.chunk_layout.write_chunk.shape or ()  # None for a scalar
    where = [int(part) for part in key.replace(".", "/").split("/") if part.isdigit()]
    cut = [slice(n * size, (n + 1) * size) for n, size in zip(where, grid, strict=False)]
    return oracle.to_value(array[tuple(cut)].read().result())


def read_groups(kvstore: dict[str, Any], zarr3: bool, keys: list[str]) -> dict[str, Value]:
    """The groups that we see for keys of chunks, as tensorstore reads them."""
    found = {}
    for key in keys:
        name, _, place = key.partition("/")
        driver = "zarr3" if zarr3 else "zarr"
        spec = {
            "driver": driver,
            "kvstore": {**kvstore, "path": f"{kvstore.get('path', '')}{name}/"},
        }
        array = ts.open(spec).result()
        whole = array.shape == (array.chunk_layout.write_chunk.shape or ())
        numbers = ",".join(part for part in place.replace(".", "/").split("/") if part != "c")
        found[name if whole else f"{name}[{numbers}]"] = read_group(array, place)
    return found


class OcdbtKit(FormatConformance):
    format = Ocdbt()
    by_content = False
    memory_bound = 2 * 2**20
    damages = 60
    zarr3 = False
    chunk_bytes: int | None = 2400
    compressed = False

    def saved(self) -> Files:
        return saved(True, self.zarr3, self.chunk_bytes, self.compressed)

    def samples(self) -> Mapping[str, bytes]:
        files = self.saved()
        data = {name: data for name, data in files.items() if "process_0/d/" in name}
        return dict(sorted(data.items(), key=lambda file: -len(file[1]))[:1])

    def beside(self, name: str) -> Mapping[str, bytes]:
        return near(name, name.rpartition("/d/")[0], self.saved())

    def oracle(self, file: Path) -> Mapping[str, Value]:
        """The values that tensorstore finds in a file of the latest version."""
        base = f"file://{file.parent.parent}/"
        store = ts.KvStore.open(base).result()
        root = ts.ocdbt.dump(store).result()["versions"][-1]["root"]["location"]
        entries = ts.ocdbt.dump(store, root).result()["entries"]
        place = f"value::d/{file.name}:"
        keys = [e["key"].decode() for e in entries if place in e.get("indirect_value", "")]
        return read_groups({"driver": "ocdbt", "base": base}, self.zarr3, keys)


class TestOcdbtWithZarr2(OcdbtKit):
    pass


class TestOcdbtWithZarr3(OcdbtKit):
    zarr3 = True


class TestCompressedOcdbt(OcdbtKit):
    """As Orbax saves where nobody says anything."""

    compressed = True


class TestCompressedOcdbtWithZarr3(TestCompressedOcdbt):
    zarr3 = True


class ZarrKit(FormatConformance):
    format = Zarr()
    by_content = False
    memory_bound = 2**20
    damages = 60
    zarr3 = compressed = False

    def saved(self) -> Files:
        return saved(False, self.zarr3, compressed=self.compressed)

    def samples(self) -> Mapping[str, bytes]:
        names = ("cut/c/1/0", "step/c") if self.zarr3 else ("cut/1.0", "step/0")
        return {f"ckpt/{name}": self.saved()[f"ckpt/{name}"] for name in names}

    def beside(self, name: str) -> Mapping[str, bytes]:
        files = near(name, "/".join(name.split("/")[:2]), self.saved())
        return {path: data for path, data in files.items() if path.endswith(("y", "n"))}

    def oracle(self, file: Path) -> Mapping[str, Value]:
        folder = next(parent for parent in file.parents if parent.name == "ckpt")
        kvstore = {"driver": "file", "path": f"{folder}/"}
        return read_groups(kvstore, self.zarr3, [file.relative_to(folder).as_posix()])


class TestZarr2(ZarrKit):
    pass


class TestZarr3(ZarrKit):
    zarr3 = True


class TestCompressedZarr2(ZarrKit):
    compressed = True


class TestCompressedZarr3(TestCompressedZarr2):
    zarr3 = True


class WrittenOcdbt(OcdbtKit):
    chunk_bytes = None  # what is written is not cut
    writes = True

    def beside(self, name: str) -> Mapping[str, bytes]:
        return near(name, "ckpt", self.saved())


class WrittenCompressedOcdbt(WrittenOcdbt):
    compressed = True


class WrittenZarr(ZarrKit):
    writes = True

    def samples(self) -> Mapping[str, bytes]:
        names = ("ckpt/params.kernel/0.0", "ckpt/step/0")
        return {name: self.saved()[name] for name in names}

    def beside(self, name: str) -> Mapping[str, bytes]:
        return near(name, "ckpt", self.saved())


class WrittenCompressedZarr(WrittenZarr):
    compressed = True


@pytest.mark.parametrize(
    "kit", [WrittenOcdbt, WrittenCompressedOcdbt, WrittenZarr, WrittenCompressedZarr]
)
def test_folders_that_are_written_read_back(kit: type[FormatConformance], tmp_path: Path) -> None:
    kit().test_written_files_read_back(tmp_path)
