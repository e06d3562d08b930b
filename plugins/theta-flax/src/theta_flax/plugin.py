"""Registers the formats of Flax and Orbax; the entry point of this distribution."""

from __future__ import annotations

from collections.abc import Iterable

from git_theta.formats.interface import CheckpointFormat
from git_theta.hookspecs import hookimpl
from theta_flax.flax_msgpack import FlaxMsgpack
from theta_flax.ocdbt.format import Ocdbt
from theta_flax.zarr.format import Zarr


@hookimpl
def theta_checkpoint_formats() -> Iterable[CheckpointFormat]:
    """What ``flax.serialization`` writes, and what Orbax does, with and without OCDBT."""
    return (FlaxMsgpack(), Ocdbt(), Zarr())
