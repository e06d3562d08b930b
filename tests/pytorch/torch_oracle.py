"""torch as the oracle of our reading: saves, loads, and names what it loaded as we do."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from git_theta.checkpoint import Layout, check_layout
from git_theta.errors import FormatMismatch
from git_theta.formats.detect import Context
from git_theta.formats.interface import CheckpointFormat
from git_theta.plugins import installed
from git_theta.source import BytesSource
from git_theta.testing import Value
from git_theta.testing.values import read_values
from theta_pytorch.plugin import theta_checkpoint_formats
from theta_pytorch.storages import DTYPES

CONTEXT = Context(installed(), "checkpoint")

KINDS = {"pytorch": True, "pytorch-legacy": False}
"""The formats that torch.save writes, and whether they are zip files."""


def save(content: object, kind: str = "pytorch", **options: Any) -> bytes:
    out = io.BytesIO()
    torch.save(content, out, _use_new_zipfile_serialization=KINDS[kind], **options)
    return out.getvalue()


def load(file: bytes | Path, *, weights_only: bool | None = None) -> Any:
    """What torch loads; its weights_only fails on untyped storages in a file that is no zip."""
    data = file.read_bytes() if isinstance(file, Path) else file
    if weights_only is None:
        weights_only = data.startswith(b"PK")
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=weights_only)


def scan(data: bytes) -> tuple[CheckpointFormat, Layout]:
    """The format that knows the file, as detection finds it, and its checked layout."""
    for format in theta_checkpoint_formats():
        if format.matches(data[:4096], ""):
            try:
                layout = format.scan(BytesSource(data), CONTEXT)
            except FormatMismatch:
                continue
            check_layout(layout, len(data))
            return format, layout
    raise FormatMismatch("Expected a file of PyTorch")


def read(data: bytes) -> dict[str, Value]:
    """All groups of a file as we find them."""
    return dict(read_values(BytesSource(data), scan(data)[1]))


def splice(data: bytes, changed: dict[str, bytes]) -> bytes:
    """The file with other bytes in the whole buffers of some groups."""
    format, layout = scan(data)
    numbers = {tensor.name: tensor.buffer for tensor in layout.tensors}
    new = {numbers[name]: BytesSource(value) for name, value in changed.items()}
    source = format.splice(BytesSource(data), layout, new, CONTEXT)
    return bytes(source.read(0, source.size))


def name_all(content: Any) -> dict[str, Value]:
    """All tensors of what torch loaded, by the path at which they hang."""
    return {path or "tensor": to_value(tensor) for path, tensor in _walk(content, "")}


def to_value(tensor: torch.Tensor) -> Value:
    dtype = DTYPES[str(tensor.dtype).removeprefix("torch.")]
    tensor = tensor.detach()
    shape = tuple(tensor.shape)
    if dtype == "F4":
        shape = (*shape[:-1], 2 * shape[-1])
    elements = tensor.contiguous().reshape(-1)
    data = elements.view(torch.uint8).numpy().tobytes() if elements.numel() else b""
    return Value(dtype, shape, data)


def _walk(content: Any, path: str) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(content, torch.Tensor):
        yield path, content
    elif isinstance(content, torch.nn.Module):
        yield from _walk(content.state_dict(), path)
    elif isinstance(content, dict | list | tuple):
        parts = content.items() if isinstance(content, dict) else enumerate(content)
        for key, part in parts:
            yield from _walk(part, f"{path}.{key}" if path else str(key))
