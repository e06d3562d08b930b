"""A small training with flax, and every way to save it that git-theta sees into."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import flax_oracle  # noqa: F401  # before jax: skips where flax is missing, asks for four devices
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from flax import linen, serialization
from flax.training.train_state import TrainState
from jax.sharding import Mesh, NamedSharding, PartitionSpec

INPUTS = jax.random.normal(jax.random.key(1), (64, 96))


class Model(linen.Module):
    """Two layers, of which one has its numbers in bfloat16."""

    @linen.compact
    def __call__(self, x: Any) -> Any:
        x = linen.relu(linen.Dense(1536, name="first")(x))
        return linen.Dense(160, param_dtype=jnp.bfloat16, name="second")(x)


@cache
def train(versions: int) -> TrainState:
    """The state after the first training, and after as many fine-tunings as there are more."""
    model = Model()
    if versions == 1:
        params = model.init(jax.random.key(0), INPUTS)["params"]
        state = TrainState.create(apply_fn=model.apply, params=params, tx=optax.adam(1e-4))
        return fit(state, 5)
    return fit(train(versions - 1), 1)


def fit(state: TrainState, steps: int) -> TrainState:
    targets = jnp.ones((64, 160))

    def loss(params: Any) -> Any:
        return jnp.mean((state.apply_fn({"params": params}, INPUTS) - targets) ** 2)

    for _ in range(steps):
        state = state.apply_gradients(grads=jax.grad(loss)(state.params))
    return state


def predict(params: Any) -> bytes:
    """What a model says, to the last bit."""
    return np.asarray(jax.jit(Model().apply)({"params": params}, INPUTS)).tobytes()


class Form(NamedTuple):
    """A way to save and load."""

    path: str
    """What is written: a file, or a folder."""
    save: Callable[[TrainState, Path], None]
    load: Callable[[Path], Any]
    """The parameters."""
    format: str
    """What git-theta says it is."""


def save_msgpack(state: TrainState, path: Path) -> None:
    path.write_bytes(serialization.to_bytes(state))


def load_msgpack(path: Path) -> Any:
    return serialization.from_bytes(train(1), path.read_bytes()).params


def orbax(path: str, format: str, *, sharded: bool = False, **options: Any) -> Form:
    """Orbax, with options of its handler."""

    def save(state: TrainState, path: Path) -> None:
        shutil.rmtree(path, ignore_errors=True)
        params = jax.tree.map(shard, state.params) if sharded else state.params
        with checkpointer() as saving:
            saving.save(path, {"params": params, "opt_state": state.opt_state})

    def load(path: Path) -> Any:
        like = {"params": train(1).params, "opt_state": train(1).opt_state}
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like)
        args = ocp.args.PyTreeRestore(like, restore_args=as_numpy)
        with checkpointer() as loading:
            return loading.restore(path, args=args)["params"]

    def checkpointer() -> Any:
        return ocp.Checkpointer(ocp.PyTreeCheckpointHandler(**options))

    return Form(path, save, load, format)


def shard(array: Any) -> Any:
    """An array over four devices: matrices in four parts, others whole on each."""
    mesh = Mesh(np.array(jax.devices()).reshape(2, 2), ("rows", "columns"))
    spec = PartitionSpec("rows", "columns") if array.ndim == 2 else PartitionSpec()
    return jax.device_put(array, NamedSharding(mesh, spec))


FORMS = {
    "msgpack": Form("model.msgpack", save_msgpack, load_msgpack, "flax-msgpack"),
    "zarr": orbax("ckpt", "zarr", use_ocdbt=False, use_compression=False),
    "zarr3": orbax("ckpt", "zarr", use_ocdbt=False, use_zarr3=True, use_compression=False),
    "ocdbt": orbax("ckpt", "ocdbt", use_compression=False),
    "sharded ocdbt": orbax("ckpt", "ocdbt", sharded=True, use_compression=False),
    "compressed zarr": orbax("ckpt", "zarr", use_ocdbt=False),
    "compressed zarr3": orbax("ckpt", "zarr", use_ocdbt=False, use_zarr3=True),
    "as Orbax saves": orbax("ckpt", "ocdbt"),
    "sharded, as Orbax saves": orbax("ckpt", "ocdbt", sharded=True),
}
