"""Checkpoints of a new structure are written through flax, into the nesting of a template."""

from __future__ import annotations

import io
import sys
from typing import Any

import flax_oracle as oracle
import numpy as np
import pytest
from flax import serialization

from git_theta.errors import CheckpointError, MissingPluginError
from git_theta.formats.interface import TensorData
from git_theta.source import BytesSource
from theta_flax.dtypes import DTYPES
from theta_flax.flax_msgpack import FlaxMsgpack


def groups(content: Any) -> dict[str, TensorData]:
    values = oracle.name_all(content)
    return {n: TensorData(v.dtype, v.shape, BytesSource(v.data)) for n, v in values.items()}


def write(tensors: dict[str, TensorData], template: bytes | None = None) -> bytes:
    out = io.BytesIO()
    FlaxMsgpack().write(tensors, BytesSource(template) if template else None, out)
    return out.getvalue()


def checkpoint() -> dict[str, Any]:
    params = {"Dense_0": {"kernel": np.ones((2, 3)), "bias": np.zeros(3)}}
    optimizer = {"0": {"count": np.int32(4), "mu": params}, "1": {}}
    return {"step": 7, "params": params, "opt_state": optimizer, "list": [np.ones(1), "kept"]}


def test_without_a_template_names_tell_the_nesting() -> None:
    content = {"params": {"a": {"b": np.arange(6).reshape(2, 3)}, "c": np.array(0.5)}}
    loaded = oracle.load(write(groups(content)))
    assert sorted(loaded["params"]) == ["a", "c"]
    assert oracle.name_all(loaded) == oracle.name_all(content)


@pytest.mark.parametrize(
    "names", [("a", "a.b"), ("a.b", "a.b.c.d", "a"), (".", "x..y", ".."), ("#",)]
)
def test_names_that_are_no_paths_are_written_all_the_same(names: tuple[str, ...]) -> None:
    content = {name: np.full(2, number) for number, name in enumerate(names)}
    assert oracle.read(write(groups(content))) == oracle.name_all(content)


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_is_written(name: str) -> None:
    content = {"x": np.arange(6).astype(name).reshape(2, 3), "scalar": np.ones((), name)}
    assert {array.dtype for array in oracle.name_all(content).values()} == {DTYPES[name]}
    assert oracle.name_all(oracle.load(write(groups(content)))) == oracle.name_all(content)


@pytest.mark.parametrize("dtype", ["F4", "F6_E2M3", "C32"])
def test_dtypes_that_jax_lacks_are_refused(dtype: str) -> None:
    with pytest.raises(CheckpointError, match=f"'x' is {dtype}, which jax has no dtype for"):
        write({"x": TensorData(dtype, (8,), BytesSource(bytes(8)))})


def test_a_group_of_another_length_than_its_shape_is_refused() -> None:
    with pytest.raises(CheckpointError, match="Expected 8 bytes of group 'x', found 9"):
        write({"x": TensorData("F32", (2,), BytesSource(bytes(9)))})


def test_a_template_gives_nesting_and_other_content() -> None:
    template = serialization.msgpack_serialize(checkpoint())
    new = {name: np.full(value.shape, 9.0) for name, value in oracle.read(template).items()}
    new["params.Dense_0.kernel"] = np.full((5, 3), 9.0)
    loaded = oracle.load(write(groups(new), template))
    assert loaded["step"] == 7
    assert loaded["opt_state"]["1"] == {}
    assert isinstance(loaded["opt_state"]["0"]["count"], np.generic)
    assert loaded["list"][1] == "kept"
    assert list(loaded) == list(oracle.load(template))
    assert oracle.name_all(loaded) == oracle.name_all(new)


def test_groups_are_added_beside_their_siblings_and_removed() -> None:
    template = serialization.msgpack_serialize(checkpoint())
    new = {name: np.ones(value.shape) for name, value in oracle.read(template).items()}
    del new["params.Dense_0.bias"], new["list.0"]
    new["params.Dense_1.kernel"] = new["fresh"] = np.ones(2)
    loaded = oracle.load(write(groups(new), template))
    assert list(loaded["params"]["Dense_0"]) == ["kernel"]
    assert list(loaded["params"]) == ["Dense_0", "Dense_1"]
    assert loaded["list"] == ["kept"]
    assert oracle.name_all(loaded) == oracle.name_all(new)


@pytest.mark.parametrize("name", ["y", "y.b"])
def test_a_group_without_a_place_is_refused(name: str) -> None:
    template = serialization.msgpack_serialize({"x": np.ones(1), "y": {"b": 5}})
    new = {"x": np.ones(1), name: np.ones(1)}
    with pytest.raises(CheckpointError, match="has no place"):
        write(groups(new), template)


def test_a_file_of_one_array_takes_no_other() -> None:
    template = serialization.msgpack_serialize(np.ones(2))
    assert oracle.load(write(groups(np.zeros(3)), template)).tolist() == [0, 0, 0]
    with pytest.raises(CheckpointError, match="'x' has no place in a file that has no names"):
        write(groups({"array": np.ones(2), "x": np.ones(1)}), template)


def test_equal_paths_are_told_apart() -> None:
    template = serialization.msgpack_serialize({"a": {"b": np.ones(1)}, "a.b": np.ones(2)})
    new = {"a.b": np.full(1, 3.0), "a.b#2": np.full(2, 4.0)}
    loaded = oracle.load(write(groups(new), template))
    assert loaded["a"]["b"].tolist() == [3]
    assert loaded["a.b"].tolist() == [4, 4]


def test_arrays_of_dtypes_that_have_no_name_are_kept() -> None:
    content = {"int4": np.ones(3, "int4"), "x": np.ones(2)}
    template = serialization.msgpack_serialize(content)
    loaded = oracle.load(write(groups({"x": np.zeros(2)}), template))
    assert loaded["int4"].tolist() == [1, 1, 1]
    assert loaded["x"].tolist() == [0, 0]


@pytest.mark.parametrize("rows", [4, 7])
def test_an_array_in_pieces_is_written_as_one(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 48)  # bytes, in the place of 1 GiB
    template = serialization.msgpack_serialize({"embed": np.ones((4, 3)), "x": np.ones(1)})
    assert [value.shape for value in oracle.read(template).values()] == [(2, 3), (2, 3), (1,)]
    content = {"embed": np.arange(3.0 * rows).reshape(rows, 3), "x": np.zeros(1)}
    new = oracle.read(serialization.msgpack_serialize(content))
    data = {n: TensorData(v.dtype, v.shape, BytesSource(v.data)) for n, v in new.items()}
    assert oracle.name_all(oracle.load(write(data, template))) == oracle.name_all(content)


def test_pieces_of_no_whole_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 48)
    template = serialization.msgpack_serialize({"embed": np.ones((4, 3))})
    with pytest.raises(CheckpointError, match="Expected whole rows of 'embed'"):
        write(groups({"embed[0]": np.ones(5), "embed[1]": np.ones(3)}), template)


def test_a_template_that_flax_refuses_is_refused() -> None:
    template = serialization.msgpack_serialize({"x": np.ones(2), "y": np.ones(2, "int4")})
    damaged = template.replace(b"int4", b"int5")
    with pytest.raises(CheckpointError, match="flax does not read this checkpoint"):
        write(groups({"x": np.ones(2)}), damaged)


def test_without_flax_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    content = groups({"w": np.ones(1)})
    monkeypatch.setitem(sys.modules, "flax", None)
    with pytest.raises(MissingPluginError, match=r"pip install 'git-theta\[flax\]'"):
        write(content)
