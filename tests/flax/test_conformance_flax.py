"""The formats of theta-flax keep the promises that plugins are held to, flax as the oracle."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import flax_oracle as oracle
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen, serialization
from flax.training.train_state import TrainState

from git_theta.testing import FormatConformance, Value
from theta_flax.flax_msgpack import FlaxMsgpack


@cache
def training() -> bytes:
    model = linen.Dense(4)
    params = model.init(jax.random.key(0), jnp.ones((1, 3)))
    state = TrainState.create(apply_fn=model.apply, params=params, tx=optax.adam(0.1))
    return serialization.to_bytes(state.apply_gradients(grads=params))


@cache
def mixed() -> bytes:
    numbers = jnp.arange(12).reshape(3, 4)
    dtypes = ("bfloat16", "float8_e4m3fn", "float8_e5m2", "int4", "complex64", "bool", "uint8")
    arrays = {name: numbers.astype(name) for name in dtypes}
    scalars = {"numpy": np.float32(2), "bfloat16": jnp.bfloat16(3), "python": 4, "complex": 1 + 2j}
    others = {"text": "a", "nothing": None, "truth": True, "float": 0.5, "list": [np.ones(2), 1]}
    content = {"arrays": arrays, "scalars": scalars, **others, "empty": {}, "none": np.ones((0, 3))}
    return serialization.msgpack_serialize(content)


class TestFlaxMsgpack(FormatConformance):
    format = FlaxMsgpack()
    writes = True
    memory_bound = 4 * 2**20

    def samples(self) -> Mapping[str, bytes]:
        return {
            "training.msgpack": training(),
            "checkpoint_0": mixed(),
            "array": serialization.msgpack_serialize(np.arange(5)),
        }

    def oracle(self, file: Path) -> Mapping[str, Value]:
        return oracle.name_all(oracle.load(file))

    def large(self, folder: Path) -> Path:
        path = folder / "large"
        path.write_bytes(serialization.msgpack_serialize({"large": np.zeros(2**24, np.int8)}))
        return path
