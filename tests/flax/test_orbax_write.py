"""Orbax checkpoints of a new structure are written through Orbax, in the form of a template."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import flax_oracle  # noqa: F401  # before jax: skips where flax is missing, asks for four devices
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from orbax_oracle import both, checkpoint, groups, named, restore, save, scan, write

from git_theta.errors import CheckpointError, MissingPluginError
from git_theta.formats.interface import CheckpointFormat, TensorData
from git_theta.source import BytesSource
from git_theta.testing import Value
from theta_flax.dtypes import DTYPES
from theta_flax.ocdbt.format import Ocdbt
from theta_flax.zarr.format import Zarr


@both
def test_without_a_template_names_tell_the_nesting(
    format: CheckpointFormat, tmp_path: Path
) -> None:
    content = {"params": {"a": {"b": np.arange(600.0).reshape(2, 300)}, "c": np.ones(400, "f4")}}
    write(format, groups(content), tmp_path / "new")
    restored = restore(tmp_path / "new")
    assert jax.tree.structure(restored) == jax.tree.structure(content)
    assert named(restored) == named(content)
    assert scan(format, tmp_path / "new") == named(content)


@both
def test_every_dtype_is_written(format: CheckpointFormat, tmp_path: Path) -> None:
    content = {name: np.arange(2000).reshape(2, 1000).astype(name) for name in DTYPES}
    content |= {f"{name} scalar": np.ones((), name) for name in DTYPES}
    write(format, groups(content), tmp_path / "new")
    assert named(restore(tmp_path / "new")) == named(content)
    large = {name: value for name, value in named(content).items() if len(value.data) > 1024}
    assert scan(format, tmp_path / "new").items() >= large.items()


@both
@pytest.mark.parametrize("zarr3", [False, True], ids=["zarr 2", "zarr 3"])
def test_a_template_gives_form_and_other_content(
    format: CheckpointFormat, zarr3: bool, tmp_path: Path
) -> None:
    old = tmp_path / "step" / "old"
    save(old, checkpoint(), use_ocdbt=format.name == "ocdbt", use_zarr3=zarr3)
    new = {name: np.full(value.shape, 9, "f4") for name, value in scan(format, old).items()}
    assert "params.first.kernel" in new
    new["params.first.kernel"] = np.full((50, 30), 9.0)
    write(format, groups(new), tmp_path / "new", old)
    restored = restore(tmp_path / "new")
    assert jax.tree.structure(restored) == jax.tree.structure(restore(old))
    assert named(restored) == {**named(restore(old)), **named(new)} | named_numbers(restored)
    assert restored["opt"][2][1] == "kept"
    assert restored["name"] == "model"
    assert restored["int4"].tolist() == [0, 1, 2, 3, 4]
    assert restored["int4"].dtype == "int4"
    found = {name: value for name, value in named(new).items() if name in scan(format, old)}
    assert scan(format, tmp_path / "new") == found
    metadata = ocp.PyTreeCheckpointHandler().metadata(tmp_path / "new")
    assert metadata.custom_metadata == {"trained": ["by", 3]}
    assert metadata.use_zarr3 is zarr3


def named_numbers(content: Any) -> dict[str, Value]:
    """Numbers that Orbax restores as Python's, whatever their dtype is."""
    return named({name: content[name] for name in ("step", "done")})


@both
def test_groups_are_added_beside_their_siblings_and_removed(
    format: CheckpointFormat, tmp_path: Path
) -> None:
    save(tmp_path / "old", checkpoint(), use_ocdbt=format.name == "ocdbt")
    found = scan(format, tmp_path / "old")
    new = {name: np.ones(value.shape) for name, value in found.items() if len(value.data) > 1024}
    del new["params.first.bias"]
    new["params.second.kernel"] = new["fresh"] = np.ones(200)
    write(format, groups(new), tmp_path / "new", tmp_path / "old")
    restored = restore(tmp_path / "new")
    assert list(restored["params"]["first"]) == ["kernel"]
    assert named(restored).items() >= named({"params.second.kernel": np.ones(200)}).items()
    assert scan(format, tmp_path / "new") == named(new)


@both
def test_small_arrays_can_be_replaced(format: CheckpointFormat, tmp_path: Path) -> None:
    save(tmp_path / "old", checkpoint(), use_ocdbt=format.name == "ocdbt")
    new = {name: np.ones(value.shape) for name, value in scan(format, tmp_path / "old").items()}
    new["params.small"] = np.full(4, 8.0)
    write(format, groups(new), tmp_path / "new", tmp_path / "old")
    assert restore(tmp_path / "new")["params"]["small"].tolist() == [8, 8, 8, 8]


@both
@pytest.mark.parametrize("zarr3", [False, True], ids=["zarr 2", "zarr 3"])
def test_an_array_in_pieces_is_written_as_one(
    format: CheckpointFormat, zarr3: bool, tmp_path: Path
) -> None:
    content = {"cut": np.arange(24000).reshape(60, 400), "x": np.ones(300)}
    args = {"cut": ocp.SaveArgs(chunk_byte_size=40000), "x": ocp.SaveArgs()}
    options = {"use_ocdbt": format.name == "ocdbt", "use_zarr3": zarr3}
    save(tmp_path / "old", content, args, **options)
    found = scan(format, tmp_path / "old")
    assert len(found) > 2
    pieces = {name: TensorData(v[0], v[1], BytesSource(v[2])) for name, v in found.items()}
    write(format, pieces, tmp_path / "new", tmp_path / "old")
    assert scan(format, tmp_path / "new") == named(content)
    assert named(restore(tmp_path / "new")) == named(content)
    del pieces["cut[0,0]"]
    with pytest.raises(CheckpointError, match=r"Expected all \d+ pieces of 'cut', found \d+"):
        write(format, pieces, tmp_path / "less", tmp_path / "old")


@both
def test_a_sharded_template_is_written_whole(format: CheckpointFormat, tmp_path: Path) -> None:
    mesh = jax.sharding.Mesh(np.array(jax.devices()).reshape(2, 2), ("rows", "columns"))
    spec = jax.sharding.PartitionSpec("rows", "columns")
    kernel = jax.device_put(jnp.ones((64, 64)), jax.sharding.NamedSharding(mesh, spec))
    save(tmp_path / "old", {"kernel": kernel}, use_ocdbt=format.name == "ocdbt")
    assert len(scan(format, tmp_path / "old")) == 4
    new = {"kernel": np.arange(4096.0)}
    write(format, groups(new), tmp_path / "new", tmp_path / "old")
    assert scan(format, tmp_path / "new") == named(new)


@pytest.mark.parametrize("name", ["..", "../escaped", "a/b", ".", "", "a\0b", "/etc"])
def test_zarr_refuses_names_that_no_folder_can_have(name: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="a name that no folder can have"):
        write(Zarr(), groups({name: np.ones(400)}), tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../escaped", "a/b", "..", "é", "a.b.c", "layer/.ATTRIBUTES/x"])
def test_ocdbt_takes_any_name(name: str, tmp_path: Path) -> None:
    content = {name: np.ones(400)}
    write(Ocdbt(), groups(content), tmp_path / "new")
    assert scan(Ocdbt(), tmp_path / "new") == named(content)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


@both
@pytest.mark.parametrize("content", [{}, {"x": np.ones((0, 3))}], ids=["no groups", "no elements"])
def test_what_orbax_refuses_is_refused_and_leaves_nothing(
    format: CheckpointFormat, content: Any, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="Orbax does not write this checkpoint"):
        write(format, groups(content), tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


@both
def test_what_is_there_is_not_overwritten(format: CheckpointFormat, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with pytest.raises(CheckpointError, match="Expected nothing at"):
        write(format, groups({"x": np.ones(400)}), tmp_path / "new")


def test_without_orbax_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tensors = groups({"w": np.ones(400)})
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(MissingPluginError, match=r"pip install 'git-theta\[flax\]'"):
        write(Zarr(), tensors, tmp_path / "new")


@both
def test_the_same_groups_give_the_same_checkpoint(format: CheckpointFormat, tmp_path: Path) -> None:
    save(tmp_path / "old", checkpoint(), use_ocdbt=format.name == "ocdbt")
    found = scan(format, tmp_path / "old")
    same = {name: TensorData(v[0], v[1], BytesSource(v[2])) for name, v in found.items()}
    write(format, same, tmp_path / "new", tmp_path / "old")
    assert scan(format, tmp_path / "new") == found
    restored, before = restore(tmp_path / "new"), restore(tmp_path / "old")
    assert jax.tree.map(type, restored) == jax.tree.map(type, before)
    assert named(restored) == named(before)
    with ocp.StandardCheckpointer() as checkpointer:
        assert named(checkpointer.restore(tmp_path / "new")) == named(before)
