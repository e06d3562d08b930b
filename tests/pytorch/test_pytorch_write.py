"""Checkpoints of a new structure are written through torch, into the nesting of a template."""

from __future__ import annotations

import io
import sys
import zipfile
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch_oracle import load, name_all, read, save, scan

from git_theta.errors import CheckpointError, MissingPluginError
from git_theta.formats.interface import CheckpointFormat, TensorData
from git_theta.source import BytesSource
from theta_pytorch.legacy import PyTorchLegacy
from theta_pytorch.pytorch_zip import PyTorch
from theta_pytorch.storages import DTYPES, LEGACY_DTYPES

FORMATS = {"pytorch": PyTorch(), "pytorch-legacy": PyTorchLegacy()}

formats = pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)


def groups(content: Any) -> dict[str, TensorData]:
    values = name_all(content)
    return {n: TensorData(v.dtype, v.shape, BytesSource(v.data)) for n, v in values.items()}


def write(
    format: CheckpointFormat, tensors: dict[str, TensorData], template: bytes | None = None
) -> bytes:
    out = io.BytesIO()
    format.write(tensors, BytesSource(template) if template else None, out)
    assert scan(out.getvalue())[0] is not None
    return out.getvalue()


def checkpoint() -> dict[str, Any]:
    state = OrderedDict(w=torch.nn.Parameter(torch.ones(2, 3)), b=torch.zeros(3))
    state._metadata = {"version": 2}  # type: ignore[attr-defined]
    optimizer = {"state": {0: {"m": torch.ones(3), "step": 5}}, "param_groups": [{"lr": 0.1}]}
    return {"epoch": 7, "model": state, "optimizer": optimizer, "ema": (torch.ones(1), "kept")}


@formats
def test_without_a_template_a_flat_dict_is_written(format: CheckpointFormat) -> None:
    content = {"a.b": torch.arange(6).reshape(2, 3), "c": torch.tensor(0.5), "e": torch.empty(0, 2)}
    data = write(format, groups(content))
    assert scan(data)[0].name == format.name
    loaded = load(data)
    assert list(loaded) == list(content)
    assert name_all(loaded) == name_all(content)


@pytest.mark.filterwarnings("ignore:ComplexHalf support:UserWarning")
@formats
@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_is_written_or_refused(name: str, format: CheckpointFormat) -> None:
    raw = torch.arange(48, dtype=torch.uint8)
    content = {"t": (raw % 2 if name == "bool" else raw).view(getattr(torch, name))}
    if format.name == "pytorch" or DTYPES[name] in LEGACY_DTYPES:
        assert name_all(load(write(format, groups(content)))) == name_all(content)
    else:  # torch writes a file then that it cannot load
        with pytest.raises(CheckpointError, match="old format cannot hold"):
            write(format, groups(content))


@formats
def test_a_template_gives_nesting_and_other_content(format: CheckpointFormat) -> None:
    template = save(checkpoint(), format.name)
    new = {name: torch.full(v.shape, 9.0) for name, v in read(template).items()}
    new["model.w"] = torch.full((5, 3), 9.0)
    loaded = load(write(format, groups(new), template), weights_only=True)
    assert loaded["epoch"] == 7
    assert loaded["optimizer"]["param_groups"] == [{"lr": 0.1}]
    assert loaded["optimizer"]["state"][0]["step"] == 5
    assert loaded["ema"][1] == "kept"
    assert loaded["model"]._metadata == {"version": 2}
    assert isinstance(loaded["model"]["w"], torch.nn.Parameter)
    assert list(loaded["model"]) == ["w", "b"]
    assert name_all(loaded) == name_all(new)


@formats
def test_groups_are_added_beside_their_siblings_and_removed(format: CheckpointFormat) -> None:
    template = save(checkpoint(), format.name)
    new = {name: torch.ones(v.shape) for name, v in read(template).items()}
    del new["model.b"]
    new["model.layer.1.w"], new["fresh"] = torch.ones(2), torch.ones(1)
    loaded = load(write(format, groups(new), template), weights_only=True)
    assert list(loaded["model"]) == ["w", "layer.1.w"]
    assert name_all(loaded) == name_all(new)


def test_a_group_without_a_place_is_refused() -> None:
    template = save([torch.ones(1)])
    with pytest.raises(CheckpointError, match="'fresh' has no place"):
        write(PyTorch(), groups({"0": torch.ones(1), "fresh": torch.ones(1)}), template)


def test_equal_paths_are_told_apart() -> None:
    template = save({"a": {"b": torch.ones(1)}, "a.b": torch.ones(2)})
    new = {"a.b": torch.full((1,), 3.0), "a.b#2": torch.full((2,), 4.0)}
    loaded = load(write(PyTorch(), groups(new), template))
    assert loaded["a"]["b"].tolist() == [3]
    assert loaded["a.b"].tolist() == [4, 4]


@pytest.mark.parametrize("tied", [True, False])
def test_ties_are_kept_as_long_as_the_values_are_equal(tied: bool) -> None:
    weight = torch.ones(3)
    template = save({"embed": weight, "head": weight})
    new = {"embed": torch.zeros(3), "head": torch.zeros(3) if tied else torch.ones(3)}
    data = write(PyTorch(), groups(new), template)
    assert len(scan(data)[1].buffers) == (1 if tied else 2)
    assert name_all(load(data)) == name_all(new)


def test_sparse_templates_are_refused() -> None:
    template = save({"s": torch.eye(3).to_sparse(), "w": torch.ones(1)})
    with pytest.raises(CheckpointError, match="'s' is sparse or quantized"):
        write(PyTorch(), groups({"w": torch.ones(1)}), template)


class Executed:
    """Leaves a mark if anything calls what its pickle names."""

    marks: list[str] = []  # noqa: RUF012

    def __reduce__(self) -> Any:
        return (Executed.marks.append, ("executed",))


@formats
def test_a_template_that_needs_the_full_unpickler_is_refused(format: CheckpointFormat) -> None:
    template = save({"w": torch.ones(2), "evil": Executed()}, format.name)
    with pytest.raises(CheckpointError, match="without running code from it"):
        write(format, groups({"w": torch.ones(2)}), template)
    assert not Executed.marks


def test_a_template_whose_keys_take_for_ever_to_hash_is_refused() -> None:
    out = io.BytesIO()
    old, new = b"X\x03\x00\x00\x00key", b")" + b"2\x86" * 60  # pairs of pairs, sixty deep
    with (
        zipfile.ZipFile(io.BytesIO(save([torch.ones(1), {"key": 0}]))) as template,
        zipfile.ZipFile(out, "w") as changed,
    ):
        for name in template.namelist():
            changed.writestr(name, template.read(name).replace(old, new))
    hostile = out.getvalue()
    assert set(read(hostile)) == {"0"}
    with pytest.raises(CheckpointError, match="dict keys"):
        write(PyTorch(), groups({"0": torch.ones(1)}), hostile)


def test_without_torch_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    content = groups({"w": torch.ones(1)})
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingPluginError, match=r"pip install 'git-theta\[pytorch\]'"):
        PyTorch().write(content, None, io.BytesIO())


def test_an_old_torch_reads_no_template(monkeypatch: pytest.MonkeyPatch) -> None:
    template = save({"w": torch.ones(1)})
    monkeypatch.setattr(torch, "__version__", "2.5.1+cu121")
    with pytest.raises(MissingPluginError, match=r"torch 2\.5\.1\+cu121 cannot read a template"):
        write(PyTorch(), groups({"w": torch.ones(1)}), template)
    assert read(write(PyTorch(), groups({"w": torch.ones(1)})))
