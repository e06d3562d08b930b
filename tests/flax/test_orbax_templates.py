"""Templates of Orbax that are damaged, hostile or of no use are refused."""

from __future__ import annotations

import json
import struct
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from orbax_oracle import both, checkpoint, groups, named, restore, save, size_of, write

from git_theta.errors import CheckpointError
from git_theta.formats.interface import CheckpointFormat
from git_theta.source import BytesSource, Source
from git_theta.testing.hostile import attempt, every_damage
from git_theta.testing.memory import at_most
from theta_flax.orbax.kept import Described, read_kept
from theta_flax.orbax.stored import InFiles, InOcdbt
from theta_flax.orbax.template import Template
from theta_flax.zarr.format import Zarr
from theta_flax.zarr.metadata import parse_metadata


@both
def test_a_group_that_would_get_another_name_is_refused(
    format: CheckpointFormat, tmp_path: Path
) -> None:
    content = {"list": [np.ones(300), np.ones(400)]}
    save(tmp_path / "old", content, use_ocdbt=format.name == "ocdbt")
    with pytest.raises(CheckpointError, match=r"'list\.1' has no place"):
        write(format, groups({"list.1": np.ones(400)}), tmp_path / "new", tmp_path / "old")


def test_a_template_of_arrays_that_we_cannot_unpack_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "old", {"x": np.ones(400), "kept": np.ones(300, "int4")}, use_ocdbt=False)
    metadata = tmp_path / "old" / "kept" / ".zarray"
    text = metadata.read_text()
    assert '"compressor":null' in text
    metadata.write_text(text.replace('"compressor":null', '"compressor":{"id":"blosc"}'))
    with pytest.raises(CheckpointError, match="found them packed"):
        write(Zarr(), groups({"x": np.ones(400)}), tmp_path / "new", tmp_path / "old")


@both
def test_a_checkpoint_is_compressed_where_its_template_is(
    format: CheckpointFormat, tmp_path: Path
) -> None:
    """Orbax compresses again, and what is no group was unpacked for it."""
    save(tmp_path / "old", checkpoint(), use_ocdbt=format.name == "ocdbt", use_compression=True)
    new = {**checkpoint(), "step": 8, "done": False}
    write(format, groups(new), tmp_path / "new", tmp_path / "old")
    assert named(restore(tmp_path / "new")) == named(new)
    assert restore(tmp_path / "new")["int4"].tolist() == checkpoint()["int4"].tolist()
    assert restore(tmp_path / "new")["name"] == "model"
    sizes = [sum(map(size_of, (tmp_path / name).rglob("*"))) for name in ("old", "new")]
    assert abs(sizes[0] - sizes[1]) < 0.1 * sizes[0]


def test_a_template_that_is_of_no_checkpoint_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "old", {"x": np.ones(400)}, use_ocdbt=False)
    (tmp_path / "old" / "_METADATA").unlink()
    with pytest.raises(CheckpointError, match="found no _METADATA above it"):
        write(Zarr(), groups({"x": np.ones(400)}), tmp_path / "new", tmp_path / "old")


@pytest.mark.parametrize("ocdbt", [False, True], ids=["zarr 3", "ocdbt"])
def test_a_damaged_template_is_refused_or_read(ocdbt: bool, tmp_path: Path) -> None:
    content = {"small": np.arange(9), "list": [np.arange(5).astype("int4"), "text"], "none": None}
    save(tmp_path / "old", content, use_ocdbt=ocdbt, use_zarr3=not ocdbt)
    paths = [path for path in (tmp_path / "old").rglob("*") if path.is_file()]
    files = {path.relative_to(tmp_path / "old").as_posix(): path.read_bytes() for path in paths}
    asked = set()

    def read(files: dict[str, bytes]) -> object:
        def open_file(path: str) -> Source | None:
            asked.add(path)
            return BytesSource(files[path]) if path in files else None

        template = Template(open_file, InOcdbt(open_file) if ocdbt else InFiles(open_file))
        template.known.clear()  # all are kept, and so read
        template.join({})
        return template.nest({})

    assert named(read(files)) == named(content)
    for name in asked & files.keys():
        for what, damage in every_damage(files[name], 60):
            where = f"{name}: {what}"
            with at_most(4 * 2**20, where):
                attempt(partial(read, {**files, name: damage}), CheckpointError, where)


@pytest.mark.parametrize(
    ("told", "claimed"),
    [
        ('"int4"', '"|V1000000000"'),
        ('"int4"', '"<U1000000"'),
        ('"shape":[300]', '"shape":[1000000000000]'),
        ('"chunks":[300]', '"chunks":[1000000000000]'),
    ],
)
def test_numbers_that_are_claimed_and_not_there_are_refused(
    told: str, claimed: str, tmp_path: Path
) -> None:
    save(tmp_path / "old", {"x": np.ones(400), "kept": np.ones(300, "int4")}, use_ocdbt=False)
    metadata = tmp_path / "old" / "kept" / ".zarray"
    text = metadata.read_text()
    assert told in text
    metadata.write_text(text.replace(told, claimed))
    new = groups({"x": np.ones(400)})
    with at_most(2**20, claimed), pytest.raises(CheckpointError, match=r"'kept'|most 524288"):
        write(Zarr(), new, tmp_path / "new", tmp_path / "old")


@pytest.mark.parametrize("honest", [True, False])
def test_chunks_that_share_bytes_are_refused(honest: bool) -> None:
    """Else a small shard fills any memory, as its table has 16 bytes a chunk."""
    raw = {"name": "bytes", "configuration": {"endian": "little"}}
    inner = {"chunk_shape": [1000], "codecs": [raw], "index_codecs": [raw]}
    metadata = {
        "zarr_format": 3,
        "node_type": "array",
        "data_type": "uint8",
        "shape": [4000],
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4000]}},
        "chunk_key_encoding": {"name": "default"},
        "codecs": [{"name": "sharding_indexed", "configuration": inner}],
    }
    step = 1000 if honest else 0
    table = b"".join(struct.pack("<QQ", number * step, 1000) for number in range(4))
    numbers = bytes(range(250)) * (16 if honest else 4)
    shard = BytesSource(numbers + table)
    text = json.dumps(metadata).encode()
    array = Described("x", parse_metadata("zarr.json", text), text)
    stored = InFiles({"x/c/0": shard}.get)
    if honest:
        assert read_kept(array, stored).tobytes() == numbers
    else:
        with pytest.raises(CheckpointError, match="Expected all numbers of 'x'"):
            read_kept(array, stored)
