"""Trains a small model by Keras and TensorFlow, saves it in every way, and loads it again.

usage: train.py make FOLDER          trains, saves, and keeps predictions in FOLDER/answers.npz
       train.py check FOLDER TO      loads all from TO; each must predict what FOLDER says
       train.py slices FOLDER        saves a partitioned variable
       train.py read FILE... -o NPZ  what TensorFlow reads of checkpoints, by prefix

Run as a process of its own, since TensorFlow takes seconds to import and warns a lot.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np

import tensorflow as tf

STAGES = ("base", "tuned")
WIDTH = 160
QUESTIONS = np.linspace(-1, 1, 4 * 16, dtype="f4").reshape(4, 16)


def build() -> keras.Model:
    """A perceptron with a normalization, enough for every kind of variable."""
    layers = [
        keras.Input((16,)),
        keras.layers.Dense(WIDTH, activation="relu", name="first"),
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.Dense(WIDTH, activation="relu", name="second"),
        keras.layers.Dense(3, name="last"),
    ]
    model = keras.Sequential(layers, name="small")
    model.compile("adam", "mse")
    return model


def train(model: keras.Model, *, seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((128, 16)).astype("f4")
    model.fit(inputs, np.tanh(inputs[:, :3]), epochs=1, batch_size=64, verbose=0)


def save(model: keras.Model, folder: Path) -> None:
    """Every way to save it."""
    folder.mkdir(parents=True)
    model.save(folder / "model.keras")
    model.save(folder / "legacy.h5")
    model.save_weights(folder / "model.weights.h5")
    model.export(folder / "saved_model", verbose=False)
    tf.train.Checkpoint(model=model).write(str(folder / "objects" / "ckpt-1"))
    values = {v.path: tf.convert_to_tensor(v) for v in model.variables}
    values["brain"] = tf.cast(values["small/first/kernel"], tf.bfloat16)
    values["quantized"] = tf.bitcast(tf.constant(np.arange(100, dtype="i1")), tf.qint8)
    values["words"] = tf.constant(["some", "words"])
    half = list(values)[: len(values) // 2]
    for number, names in enumerate((half, [name for name in values if name not in half])):
        write(f"{folder}/part{number}", {name: values[name] for name in names})
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[f"{folder}/part0", f"{folder}/part1"],
        destination_prefix=f"{folder}/sharded/model",
        delete_old_dirs=False,
    )


def write(prefix: str, values: dict[str, tf.Tensor]) -> None:
    """A checkpoint by names."""
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=list(values),
        shape_and_slices=[""] * len(values),
        tensors=list(values.values()),
    )


def answers(folder: Path) -> dict[str, np.ndarray]:
    """What each saved model predicts."""
    found = {
        "keras": keras.saving.load_model(folder / "model.keras")(QUESTIONS),
        "legacy": keras.saving.load_model(folder / "legacy.h5", compile=False)(QUESTIONS),
        "saved_model": serve(folder / "saved_model"),
    }
    model = build()
    model.load_weights(folder / "model.weights.h5")
    found["weights"] = model(QUESTIONS)
    model = build()
    tf.train.Checkpoint(model=model).read(str(folder / "objects" / "ckpt-1")).expect_partial()
    found["objects"] = model(QUESTIONS)
    model = build()
    reader = tf.train.load_checkpoint(str(folder / "sharded" / "model"))
    for variable in model.variables:
        if variable.path in reader.get_variable_to_dtype_map():
            variable.assign(reader.get_tensor(variable.path))
    found["sharded"] = model(QUESTIONS)
    assert reader.get_tensor("words").tolist() == [b"some", b"words"]
    return {name: np.array(value) for name, value in found.items()}


def serve(folder: Path) -> tf.Tensor:
    """What a SavedModel's signature predicts."""
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    (name,) = signature.structured_input_signature[1]
    (found,) = signature(**{name: tf.constant(QUESTIONS)}).values()
    return found


def make(folder: Path) -> None:
    keras.utils.set_random_seed(1)
    model = build()
    kept = {}
    for number, stage in enumerate(STAGES):
        train(model, seed=number)
        save(model, folder / stage)
        kept |= {f"{stage}/{way}": found for way, found in answers(folder / stage).items()}
        values = {v.path: np.array(v) for v in model.variables}
        kept |= {f"{stage}/values/{name}": value for name, value in values.items()}
    truth = {kept[f"base/{way}"].tobytes() for way in ("keras", "legacy", "weights", "objects")}
    assert len(truth) == 1, "the ways to save it disagree before git has seen them"
    np.savez(folder / "answers.npz", **kept)


def check(folder: Path, restored: Path, stage: str) -> None:
    kept = np.load(folder / "answers.npz")
    for way, found in answers(restored).items():
        expected = kept[f"{stage}/{way}"]
        assert found.tobytes() == expected.tobytes(), f"{stage}, {way}: predicts otherwise"
    print("the same answers")


def slices(folder: Path) -> None:
    """A variable in two slices, as partitioners save it."""
    value = np.arange(200 * 4, dtype="f4").reshape(200, 4)
    tf.raw_ops.SaveV2(
        prefix=str(folder / "sliced"),
        tensor_names=["w", "w", "whole"],
        shape_and_slices=["200 4 0,150:-", "200 4 150,50:0,4", ""],
        tensors=[tf.constant(value[:150]), tf.constant(value[150:]), tf.constant(value)],
    )


def read(prefixes: list[str], out: str) -> None:
    found = {}
    for prefix in prefixes:
        reader = tf.train.load_checkpoint(prefix)
        for name, dtype in reader.get_variable_to_dtype_map().items():
            if dtype not in (tf.string, tf.qint8):
                found[f"{prefix}:{name}"] = np.array(reader.get_tensor(name))
    np.savez(out, **found)


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "make":
        make(Path(rest[0]))
    elif what == "check":
        check(Path(rest[0]), Path(rest[1]), rest[2])
    elif what == "slices":
        slices(Path(rest[0]))
    else:
        read(rest[:-1], rest[-1])
