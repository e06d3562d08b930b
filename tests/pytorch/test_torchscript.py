"""TorchScript programs are read as torch.jit.load reads them, and spliced with right checksums."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch_oracle import name_all, read, scan, splice

from git_theta.errors import CheckpointError
from git_theta.source import BytesSource
from theta_pytorch.storages import DTYPES
from theta_pytorch.torchscript import TorchScript

# torch warns that TorchScript is old; people have such files all the same
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:ComplexHalf support:UserWarning"),
]


class Model(torch.nn.Module):
    """Weights, a tied weight, a buffer, tensors in containers, one in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(3, 4)
        self.second = torch.nn.Linear(3, 4)
        self.second.weight = self.first.weight
        self.register_buffer("mean", torch.arange(6.0).reshape(2, 3).t())
        self.extra = [torch.ones(2), torch.zeros(3, dtype=torch.int32)]
        self.by_name = {"a": torch.full((4,), 0.25)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(x) + self.first(x) + self.mean.sum() + self.by_name["a"]


def save(module: torch.nn.Module) -> bytes:
    out = io.BytesIO()
    torch.jit.save(torch.jit.script(module), out)
    return out.getvalue()


def load(data: bytes | Path) -> torch.jit.ScriptModule:
    source = str(data) if isinstance(data, Path) else io.BytesIO(data)
    return torch.jit.load(source, map_location="cpu")


@contextmanager
def checked(data: bytes) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        yield archive


def test_groups_are_those_that_torch_loads() -> None:
    data = save(Model())
    module = load(data)
    parts = {"extra": module.extra, "by_name": module.by_name}
    assert scan(data)[0].name == "torchscript"
    assert read(data) == name_all({**module.state_dict(), **parts})


def test_tied_weights_share_a_buffer() -> None:
    _, layout = scan(save(Model()))
    buffers = {tensor.name: tensor.buffer for tensor in layout.tensors}
    assert buffers["first.weight"] == buffers["second.weight"]


@pytest.mark.filterwarnings("ignore:torch.tensor results:torch.jit.TracerWarning")
def test_constants_of_the_code_are_groups() -> None:
    traced = torch.jit.trace(lambda x: x + torch.tensor([1.5, 2.5]), torch.ones(2))
    out = io.BytesIO()
    torch.jit.save(traced, out)
    found = read(out.getvalue())
    assert found == name_all({"constants": [torch.tensor([1.5, 2.5])]})


@pytest.mark.parametrize("name", sorted(DTYPES.keys() - {"float4_e2m1fn_x2", "float8_e8m0fnu"}))
def test_every_dtype_is_read(name: str) -> None:
    module = torch.nn.Module()
    raw = torch.arange(48, dtype=torch.uint8)
    module.register_buffer("w", (raw % 2 if name == "bool" else raw).view(getattr(torch, name)))
    data = save(module)
    assert read(data) == name_all(module)


def test_spliced_weights_are_loaded_and_have_right_checksums() -> None:
    data = save(Model())
    new = torch.arange(12.0)
    spliced = splice(data, {"first.weight": new.numpy().tobytes()})
    with checked(data) as old, checked(spliced) as changed:
        names = [n for n in old.namelist() if old.read(n) != changed.read(n)]
    assert len(names) == 1
    assert load(spliced).state_dict()["second.weight"].flatten().tolist() == new.tolist()
    x = torch.randn(2, 3)
    module = load(data)
    module.first.weight.data.copy_(new.reshape(4, 3))
    assert torch.equal(load(spliced)(x), module(x))


def test_a_program_cannot_be_written_anew() -> None:
    with pytest.raises(CheckpointError, match="torchscript can only be read"):
        TorchScript().write({}, BytesSource(save(Model())), io.BytesIO())
