"""Checkpoints of a new structure are written by TensorFlow, h5py and Keras, and load there."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from made_bundle import NUMBERS, QINT8, Made, make_bundle
from needs_framework import needs, require

from git_theta.errors import CheckpointError
from git_theta.formats.detect import detect
from git_theta.formats.interface import TensorData
from git_theta.plugins import installed
from git_theta.source import BytesSource
from git_theta.testing.scanning import context_of
from git_theta.testing.values import read_values
from theta_tensorflow.checkpoint import TensorFlow
from theta_tensorflow.hdf5_file import Hdf5
from theta_tensorflow.keras import Keras

HERE = Path(__file__).parent
DATA = "m.data-00000-of-00001"

WRITE = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy as np
import tensorflow as tf
from test_tensorflow_write import DATA, GROUPS, template_of, write
folder = Path(sys.argv[2])
tf.raw_ops.SaveV2(
    prefix=str(folder / "texts"), tensor_names=["old", "words"], shape_and_slices=["", ""],
    tensors=[tf.constant([1.0]), tf.constant(["some", "words"])],
)
write(folder / "plain" / DATA, None)
write(folder / "kept" / DATA, folder / "texts.index")
write(folder / "quantized" / DATA, template_of(folder))
reader = tf.train.load_checkpoint(str(folder / "kept/m"))
print(reader.get_tensor("words").tolist(), sorted(reader.get_variable_to_dtype_map()))
print(reader.get_tensor("brain").dtype, reader.get_tensor("kernel").tolist())
other = tf.train.load_checkpoint(str(folder / "quantized/m")).get_variable_to_dtype_map()
print(other["small"].name)
"""


def group(dtype: str, array: np.ndarray) -> TensorData:
    return TensorData(dtype, array.shape, BytesSource(array.tobytes()))


GROUPS = {
    "kernel": group("F32", np.arange(6, dtype="f4").reshape(2, 3)),
    "brain": group("BF16", np.arange(5, dtype="u2")),
    "small": group("I8", np.arange(4, dtype="i1")),
    "flags": group("BOOL", np.array([True, False])),
    "step": group("I64", np.array(3, "i8")),
    "none": group("F64", np.zeros((0, 2))),
}


def template_of(folder: Path) -> Path:
    made = make_bundle(
        {"small": Made(QINT8, (2,), b"\1\2"), "x": Made(NUMBERS["F32"], (), bytes(4))}
    )
    (folder / "made.index").write_bytes(made.index)
    (folder / f"made{DATA[1:]}").write_bytes(made.shards[0])
    return folder / "made.index"


def write(path: Path, template: Path | None) -> None:
    """Write the groups, with a template that is named by its index."""
    path.parent.mkdir()
    name = f"{template.stem}{DATA[1:]}" if template else DATA
    others = {template.name: template.read_bytes()} if template else {}
    file = BytesSource(template.with_name(name).read_bytes()) if template else None
    TensorFlow().write_to(GROUPS, file, path, context_of(installed(), name, others))


def test_tensorflow_writes_and_reads_its_checkpoints(tmp_path: Path) -> None:
    require("tensorflow")
    ran = subprocess.run(
        [sys.executable, "-c", WRITE, str(HERE), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    assert ran.stdout.splitlines() == [
        f"[b'some', b'words'] {sorted([*GROUPS, 'words'])}",
        "bfloat16 [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]",
        "qint8",
    ]
    for name in ("plain", "kept", "quantized"):
        data = BytesSource((tmp_path / name / DATA).read_bytes())
        index = {"m.index": (tmp_path / name / "m.index").read_bytes()}
        context = context_of(installed(), DATA, index)
        values = read_values(data, TensorFlow().scan(data, context))
        assert values.keys() == GROUPS.keys()
        for group_name, (dtype, shape, content) in values.items():
            given = GROUPS[group_name]
            expected = (given.dtype, given.shape, given.data.read(0, given.data.size))
            assert (dtype, shape, content) == expected


def test_a_partitioned_variable_is_read_as_tensorflow_names_its_slices(tmp_path: Path) -> None:
    require("tensorflow")
    ran = subprocess.run(
        [sys.executable, HERE / "train.py", "slices", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    file = BytesSource((tmp_path / "sliced.data-00000-of-00001").read_bytes())
    index = BytesSource((tmp_path / "sliced.index").read_bytes())
    found = detect(file, "sliced.data-00000-of-00001", installed(), lambda _: index)
    assert found.warning == ""
    values = {
        name: np.frombuffer(v[2], "f4") for name, v in read_values(file, found.layout).items()
    }
    whole = np.arange(200 * 4, dtype="f4").reshape(200, 4)
    expected = {"w[0:150,:]": whole[:150], "w[150:200,0:4]": whole[150:], "whole": whole}
    assert values.keys() == expected.keys()
    for name, value in expected.items():
        assert np.array_equal(values[name], value.ravel())


def test_an_hdf5_template_keeps_all_that_is_no_group(tmp_path: Path) -> None:
    h5py = needs("h5py")
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.attrs["config"] = "{}"
        file["kernel"] = np.ones((2, 3), "f4")
        file["kernel"].attrs["note"] = "kept"
        file["brain"] = np.ones(2, "f4")
        file["gone"] = np.ones(4, "f4")
        file["text"] = "words"
    with (tmp_path / "new.h5").open("wb") as out:
        Hdf5().write(GROUPS, BytesSource((tmp_path / "old.h5").read_bytes()), out)
    with h5py.File(tmp_path / "new.h5") as file:
        assert set(file) == {*GROUPS, "text"}
        assert file["text"].asstr()[()] == "words"
        assert (file.attrs["config"], file["kernel"].attrs["note"]) == ("{}", "kept")
        assert file["brain"].attrs["dtype"] == "bfloat16"
        assert file["kernel"][()].tolist() == [[0, 1, 2], [3, 4, 5]]
    data = BytesSource((tmp_path / "new.h5").read_bytes())
    assert read_values(data, detect(data, "", installed()).layout).keys() == GROUPS.keys()


def test_a_template_that_refers_to_other_files_is_not_opened(tmp_path: Path) -> None:
    h5py = needs("h5py")
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file["outside"] = h5py.ExternalLink("/etc/hostname", "/")
    template = BytesSource((tmp_path / "old.h5").read_bytes())
    with (tmp_path / "new.h5").open("wb") as out, pytest.raises(CheckpointError, match="link to"):
        Hdf5().write(GROUPS, template, out)


def test_a_keras_file_keeps_its_architecture(tmp_path: Path) -> None:
    h5py = needs("h5py")
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["kernel"] = np.zeros((5, 5), "f4")
    with zipfile.ZipFile(tmp_path / "old.keras", "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", '{"class_name": "Sequential"}')
        archive.write(tmp_path / "w.h5", "model.weights.h5")
    old = BytesSource((tmp_path / "old.keras").read_bytes())
    with (tmp_path / "new.keras").open("wb") as out:
        Keras().write(GROUPS, old, out)
    new = BytesSource((tmp_path / "new.keras").read_bytes())
    found = detect(new, "", installed())
    assert found.formats == ("keras", "hdf5")
    assert read_values(new, found.layout).keys() == GROUPS.keys()
    with zipfile.ZipFile(tmp_path / "new.keras") as archive:
        assert archive.read("config.json") == b'{"class_name": "Sequential"}'
    with (
        (tmp_path / "no.keras").open("wb") as out,
        pytest.raises(CheckpointError, match="template"),
    ):
        Keras().write(GROUPS, None, out)
