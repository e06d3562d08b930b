"""The formats of theta-pytorch keep the promises that plugins are held to, torch as the oracle."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
from torch_oracle import load, name_all, save, to_value

from git_theta.testing import FormatConformance, Value
from theta_pytorch.legacy import PyTorchLegacy
from theta_pytorch.pytorch_zip import PyTorch
from theta_pytorch.torchscript import TorchScript


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@cache
def state_dict(kind: str) -> bytes:
    state = {"layer.weight": numbers(3, 5), "layer.bias": numbers(3).bfloat16()}
    return save({**state, "steps": torch.tensor(7), "none": torch.empty(0, 2)}, kind)


@cache
def training(kind: str) -> bytes:
    model = torch.nn.Linear(3, 4)
    optimizer = torch.optim.AdamW(model.parameters())
    model(numbers(5, 3)).sum().backward()
    optimizer.step()
    return save({"epoch": 3, "model": model.state_dict(), "adam": optimizer.state_dict()}, kind)


@cache
def views(kind: str) -> bytes:
    base = numbers(6, 8)
    others = {"transposed": base.t(), "columns": base[:, 3:5], "tied": base, "row": base[2]}
    return save({"base": base, **others, "flags": base > 0, "complex": base + 1j}, kind)


class Kit(FormatConformance):
    memory_bound = 24 * 2**20  # of a file of 64 MiB; the old format's pickles are read in one go

    def oracle(self, file: Path) -> Mapping[str, Value]:
        return name_all(load(file))

    def large(self, folder: Path) -> Path:
        path = folder / "large.bin"
        path.write_bytes(save({"large": torch.zeros(2**24)}, self.format.name))
        return path


class TestPyTorch(Kit):
    format = PyTorch()

    def samples(self) -> Mapping[str, bytes]:
        return {"training.pt": training("pytorch"), "views.pth": views("pytorch")}


class TestPyTorchWritten(Kit):
    format = PyTorch()
    writes = True

    def samples(self) -> Mapping[str, bytes]:
        return {"state.bin": state_dict("pytorch")}


class TestPyTorchLegacy(Kit):
    format = PyTorchLegacy()

    def samples(self) -> Mapping[str, bytes]:
        kind = "pytorch-legacy"
        return {"training.pt": training(kind), "views.pth": views(kind)}


class TestPyTorchLegacyWritten(Kit):
    format = PyTorchLegacy()
    writes = True

    def samples(self) -> Mapping[str, bytes]:
        return {"pytorch_model.bin": state_dict("pytorch-legacy")}


@cache
def program(width: int) -> bytes:
    model = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.ReLU())
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, its files are still around
        torch.jit.save(torch.jit.script(model), out)
    return out.getvalue()


class TestTorchScript(FormatConformance):
    format = TorchScript()
    memory_bound = 16 * 2**20

    def samples(self) -> Mapping[str, bytes]:
        return {"program.jit": program(4)}

    def oracle(self, file: Path) -> Mapping[str, Value]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = torch.jit.load(str(file)).state_dict()
        return {name: to_value(tensor) for name, tensor in state.items()}

    def large(self, folder: Path) -> Path:
        path = folder / "large.jit"
        path.write_bytes(program(2**22))
        return path
