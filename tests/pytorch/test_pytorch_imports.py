"""Reading and splicing PyTorch files imports no framework."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from torch_oracle import KINDS, save

SCRIPT = """
import sys
from pathlib import Path
for name in ("torch", "tensorflow", "jax"):
    sys.modules[name] = None  # an import of it is an ImportError from here on
from git_theta.formats.detect import detect, splice
from git_theta.plugins import installed
from git_theta.source import BytesSource
for path in sys.argv[1:]:
    file = BytesSource(Path(path).read_bytes())
    found = detect(file, path, installed())
    buffer = found.layout.buffers[0]
    spliced = splice(file, path, installed(), {0: BytesSource(bytes(buffer.nbytes))})
    zeros = not any(spliced.file.read(buffer.start, buffer.nbytes))
    print(found.formats[0], len(found.layout.tensors), zeros, repr(found.warning))
"""


def test_reading_and_splicing_need_no_framework(tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 3)
    paths = []
    for kind in KINDS:
        paths.append(tmp_path / kind)
        paths[-1].write_bytes(save(module.state_dict(), kind))
    command = [sys.executable, "-c", SCRIPT, *map(str, paths)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.stderr == ""
    assert ran.stdout.splitlines() == [f"{kind} 2 True ''" for kind in KINDS]
