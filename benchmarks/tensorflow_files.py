"""The same versions as safetensors, TensorFlow checkpoint and Keras file: seconds and bytes.

usage: tensorflow_files.py VERSION.safetensors...
Each version is saved by the framework, then added and committed; CPU seconds are those of git and
of all that it starts. `peer` is the share of what safetensors takes.
"""

from __future__ import annotations

import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from repository import bench
from safetensors.numpy import load_file

NAMES = {
    "safetensors": ("m.safetensors",),
    "tensorflow": ("m.index", "m.data-00000-of-00001"),
    "keras": ("m.weights.h5",),
}


def save_safetensors(version: Path, folder: Path) -> None:
    """The version as it is."""
    shutil.copyfile(version, folder / "m.safetensors")


def save_tensorflow(version: Path, folder: Path) -> None:
    """As ``tf.train.Checkpoint`` would, with the same names."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    values = load_file(version)
    tf.raw_ops.SaveV2(
        prefix=str(folder / "m"),
        tensor_names=list(values),
        shape_and_slices=[""] * len(values),
        tensors=[tf.constant(value) for value in values.values()],
    )


def save_keras(version: Path, folder: Path) -> None:
    """As Keras would, a group a layer and a dataset a variable."""
    with h5py.File(folder / "m.weights.h5", "w") as file:
        for name, value in load_file(version).items():
            file[f"layers/{name.replace('.', '/')}/vars/0"] = np.asarray(value)


SAVE: dict[str, Callable[[Path, Path], None]] = {
    "safetensors": save_safetensors,
    "tensorflow": save_tensorflow,
    "keras": save_keras,
}


def spent() -> float:
    """CPU seconds of all processes that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(kind: str, files: list[Path]) -> list[tuple[float, float, int]]:
    """Seconds, CPU seconds and bytes of each version's add and commit."""
    rows = []
    with bench("theta", "m*") as repo:
        before = repo.stored()
        for folder in files:
            for name in NAMES[kind]:
                shutil.copyfile(folder / name, repo.path / name)
            cpu = spent()
            seconds = repo.run("git add m* && git commit -qm version")
            rows.append((seconds, spent() - cpu, repo.stored() - before))
            before = repo.stored()
    return rows


def main(versions: list[Path]) -> None:
    """Print a row for each kind of file and version, and sums."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_TMP")) as scratch:
        sums: dict[str, tuple[float, float, int]] = {}
        for kind, save in SAVE.items():
            folders = []
            for version in versions:
                folder = Path(scratch, kind, version.stem)
                folder.mkdir(parents=True)
                save(version, folder)
                folders.append(folder)
            rows = measure(kind, folders)
            sums[kind] = (sum(r[0] for r in rows), sum(r[1] for r in rows), sum(r[2] for r in rows))
            for version, (seconds, cpu, nbytes) in zip(versions, rows, strict=True):
                print(f"{kind:12} {version.stem:8} {seconds:7.2f} s {cpu:7.2f} cpu {nbytes:12,}")
        print(f"\n{'':12} {'seconds':>9} {'cpu':>9} {'bytes':>14}   peer: seconds, cpu, bytes")
        base = sums["safetensors"]
        for kind, row in sums.items():
            share = "  ".join(f"{one / other:6.3f}" for one, other in zip(row, base, strict=True))
            print(f"{kind:12} {row[0]:9.2f} {row[1]:9.2f} {row[2]:14,}   {share}")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
