"""A file of several gigabytes: add, a second add after one group changed, checkout; peak memory.

usage: large_file.py [MATRICES] [SYSTEM ...]
72 matrices of BF16 (the default) have 2.6 GB; systems: theta lfs, one after the other.
Weights are drawn, not real: BF16 of normal numbers compresses as trained weights do.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np
from repository import bench, peak_of_children

ROWS, COLUMNS = 4096, 4400
NAME = "model.safetensors"


def write(path: Path, matrices: int, changed: int | None = None) -> None:
    """Write the file, a matrix at a time; one takes a small step where ``changed`` names it.

    Memory that this process once had would count as that of every process it starts.
    """
    size = 2 * ROWS * COLUMNS
    header = {
        f"layers.{n}.weight": {
            "dtype": "BF16",
            "shape": [ROWS, COLUMNS],
            "data_offsets": [n * size, (n + 1) * size],
        }
        for n in range(matrices)
    }
    text = json.dumps(header).encode()
    generator = np.random.default_rng(0)
    with path.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for number in range(matrices):
            values = generator.standard_normal((ROWS, COLUMNS), np.float32) * np.float32(0.02)
            if number == changed:
                values += np.float32(1e-3)
            out.write(values.astype(ml_dtypes.bfloat16).tobytes())


def main(matrices: int, systems: list[str]) -> None:
    """Print a row for each system."""
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "1"), Path(folder, "2")
        write(first, matrices)
        write(second, matrices, changed=7 % matrices)
        print(f"{first.stat().st_size / 1e9:.2f} GB")
        for system in systems:
            with bench(system, NAME) as repo:
                shutil.copyfile(first, repo.file)
                add = repo.run(f"git add {NAME}")
                commit = repo.run("git commit -qm 1 && git tag one")
                shutil.copyfile(second, repo.file)
                again = repo.run(f"git add {NAME} && git commit -qm 2")
                added = peak_of_children()
                out = repo.run("git checkout -q one")
                same = subprocess.run(["cmp", str(first), str(repo.file)], check=False).returncode
                own = ""
                if system == "theta":
                    repo.file.unlink()
                    own = f"  git theta checkout {repo.run('git theta checkout'):6.2f} s"
                print(
                    f"{system:6} add {add:6.2f} s  commit {commit:5.2f} s  one group changed "
                    f"{again:6.2f} s  checkout {out:6.2f} s{own}  largest process of the adds "
                    f"{added:.0f} MiB  {'exact' if same == 0 else 'NOT EXACT'}"
                )


if __name__ == "__main__":
    args = sys.argv[1:]
    count = int(args.pop(0)) if args and args[0].isdigit() else 72
    main(count, args or ["theta", "lfs"])
