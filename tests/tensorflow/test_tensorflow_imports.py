"""Reading and splicing TensorFlow's and Keras's files imports no framework."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from made_bundle import Made, make_bundle
from needs_framework import needs

SCRIPT = """
import sys
from pathlib import Path
for name in ("torch", "tensorflow", "keras", "h5py", "ml_dtypes", "jax"):
    sys.modules[name] = None  # an import of it is an ImportError from here on
from git_theta.formats.detect import detect, splice
from git_theta.plugins import installed
from git_theta.source import BytesSource
def beside(name):
    return BytesSource(Path(name).read_bytes()) if Path(name).is_file() else None
for path in sys.argv[1:]:
    file = BytesSource(Path(path).read_bytes())
    found = detect(file, path, installed(), beside)
    buffer = found.layout.buffers[0]
    spliced = splice(file, path, installed(), {0: BytesSource(bytes(buffer.nbytes))}, beside)
    zeros = not any(spliced.file.read(buffer.start, buffer.nbytes))
    print(found.formats[0], len(found.layout.tensors), zeros, list(spliced.beside))
"""


def test_reading_and_splicing_need_no_framework(tmp_path: Path) -> None:
    h5py = needs("h5py")
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["x"] = np.ones(3, "f4")
    made = make_bundle({"x": Made(1, (1,), b"\0\0\x80\x3f")})
    (tmp_path / "m.index").write_bytes(made.index)
    (tmp_path / "m.data-00000-of-00001").write_bytes(made.shards[0])
    command = [sys.executable, "-c", SCRIPT, "m.h5", "m.data-00000-of-00001"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.stderr == ""
    assert ran.stdout.splitlines() == ["hdf5 1 True []", "tensorflow 1 True ['m.index']"]
