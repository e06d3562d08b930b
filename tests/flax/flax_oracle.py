"""flax as the oracle of our reading: names what flax restores as we do.

Where flax is missing, importing this skips a module of tests, and fails in CI.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if os.environ.get("CI", "").lower() not in ("1", "true"):
    pytest.importorskip("flax.serialization", reason="flax is not installed")

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")  # for sharding

import jax
import numpy as np
from flax import serialization

from git_theta.checkpoint import Layout, check_layout
from git_theta.formats.detect import Context
from git_theta.plugins import installed
from git_theta.source import BytesSource
from git_theta.testing import Value
from git_theta.testing.values import read_values
from theta_flax.dtypes import DTYPES
from theta_flax.flax_msgpack import FlaxMsgpack


def scan(data: bytes, path: str = "checkpoint") -> Layout:
    """The checked layout of a msgpack file."""
    layout = FlaxMsgpack().scan(BytesSource(data), Context(installed(), path))
    check_layout(layout, len(data))
    return layout


def read(data: bytes) -> dict[str, Value]:
    """All groups of a msgpack file as we find them."""
    return dict(read_values(BytesSource(data), scan(data)))


def load(file: bytes | Path) -> Any:
    """What flax restores."""
    return serialization.msgpack_restore(file.read_bytes() if isinstance(file, Path) else file)


def name_all(content: Any) -> dict[str, Value]:
    """All arrays that flax restored and that have a dtype of ours, by where they hang."""
    return {path: to_value(array) for path, array in find_arrays(content).items()}


def find_arrays(content: Any) -> dict[str, Any]:
    """The same as arrays."""
    return dict(_walk(content, None))


def to_value(array: Any) -> Value:
    return Value(DTYPES[array.dtype.name], array.shape, np.ascontiguousarray(array).tobytes())


def _walk(content: Any, path: str | None) -> Iterator[tuple[str, Any]]:
    if isinstance(content, dict | list):
        parts = content.items() if isinstance(content, dict) else enumerate(content)
        for key, part in parts:
            yield from _walk(part, str(key) if path is None else f"{path}.{key}")
    elif isinstance(content, np.ndarray | np.generic | jax.Array) and content.dtype.name in DTYPES:
        yield path or "array", content
