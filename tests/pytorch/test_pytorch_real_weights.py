"""Checkpoints that people published are read as torch reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch_oracle import load, name_all, read, scan, splice

Weights = Callable[[str], Path]

CHGNET = ("0.2.0", "0.3.0", "r2scan")
RXNFP = ("bert_pretrained", "bert_ft", "bert_ft_10k_25s")
SILERO = ("silero-vad==5.1.2", "silero-vad==6.0.0", "silero-vad==6.2.3")


@pytest.mark.parametrize("version", CHGNET)
def test_chgnet_with_optimizer_and_scheduler(weights: Weights, version: str) -> None:
    (path,) = (weights("chgnet") / "chgnet/pretrained" / version).glob("*.pth.tar")
    data = path.read_bytes()
    found = read(data)
    assert scan(data)[0].name == "pytorch"
    assert found == name_all(load(data, weights_only=False))
    assert "model.state_dict.composition_model.fc.weight" in found
    assert any(name.startswith("optimizer.state.") for name in found)


@pytest.mark.parametrize("name", RXNFP)
def test_rxnfp_in_the_legacy_format(weights: Weights, name: str) -> None:
    data = (
        weights("rxnfp") / "rxnfp/models/transformers" / name / "pytorch_model.bin"
    ).read_bytes()
    assert scan(data)[0].name == "pytorch-legacy"
    assert read(data) == name_all(load(data))


def test_a_legacy_file_without_tensors(weights: Weights) -> None:
    folder = weights("rxnfp") / "rxnfp/models/transformers/bert_ft_10k_25s"
    format, layout = scan((folder / "scheduler.pt").read_bytes())
    assert (format.name, layout.buffers, layout.tensors) == ("pytorch-legacy", (), ())


@pytest.mark.parametrize("pin", SILERO)
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_silero_as_torchscript(weights: Weights, pin: str) -> None:
    path = weights(pin) / "silero_vad/data/silero_vad.jit"
    data = path.read_bytes()
    expected = name_all(torch.jit.load(path).state_dict())
    found = read(data)
    assert scan(data)[0].name == "torchscript"
    assert expected
    assert {name: found[name] for name in expected} == expected


def test_a_spliced_legacy_checkpoint_is_loaded(weights: Weights) -> None:
    folder = weights("rxnfp") / "rxnfp/models/transformers/bert_ft"
    data = (folder / "pytorch_model.bin").read_bytes()
    name = "pooler.dense.bias"
    new = torch.arange(256.0)
    spliced = splice(data, {name: new.numpy().tobytes()})
    loaded = load(spliced)
    assert torch.equal(loaded[name], new)
    assert read(spliced) == name_all(loaded)
