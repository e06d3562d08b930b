"""A file of several gigabytes that gets one merged LoRA after another; then its last checkout.

usage: large_chain.py [MATRICES] [SYSTEM ...]
72 matrices of BF16 (the default) have 2.6 GB; every one gets a LoRA of rank 16, three times, so
the last version stands on three others. Systems: theta lfs, one after the other.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np
from large_file import COLUMNS, NAME, ROWS, write
from repository import bench, peak_of_children

RANK = 16
VERSIONS = 3


def adapt(old: Path, new: Path, matrices: int, seed: int) -> None:
    """Write ``old`` with a LoRA merged into every matrix, as a user would: in F32, then rounded."""
    generator = np.random.default_rng(seed)
    size = 2 * ROWS * COLUMNS
    with old.open("rb") as source, new.open("wb") as out:
        out.write(source.read(old.stat().st_size - matrices * size))
        for _ in range(matrices):
            values = np.frombuffer(source.read(size), ml_dtypes.bfloat16).astype(np.float32)
            up = generator.standard_normal((ROWS, RANK), np.float32) * np.float32(0.01)
            down = generator.standard_normal((RANK, COLUMNS), np.float32) * np.float32(0.02)
            values += np.float32(2) * (up @ down).reshape(-1)
            out.write(values.astype(ml_dtypes.bfloat16).tobytes())


def main(matrices: int, systems: list[str]) -> None:
    """Print a row for each version and system."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, str(number)) for number in range(VERSIONS + 1)]
        write(files[0], matrices)
        for number in range(VERSIONS):
            adapt(files[number], files[number + 1], matrices, number + 1)
        print(f"{files[0].stat().st_size / 1e9:.2f} GB a version", flush=True)
        for system in systems:
            with bench(system, NAME) as repo:
                for number, file in enumerate(files):
                    shutil.copyfile(file, repo.file)
                    before = repo.stored()
                    took = repo.run(f"git add {NAME} && git commit -qm {number}")
                    share = (repo.stored() - before) / file.stat().st_size
                    print(
                        f"{system:6} version {number}  add and commit {took:6.2f} s  "
                        f"stored {share:.3f}",
                        flush=True,
                    )
                peak = peak_of_children()
                repo.file.unlink()
                out = repo.run(f"git checkout -q -- {NAME}")
                same = subprocess.run(
                    ["cmp", str(files[-1]), str(repo.file)], check=False
                ).returncode
                own = ""
                if system == "theta":
                    repo.file.unlink()
                    own = f"  git theta checkout {repo.run('git theta checkout'):6.2f} s"
                print(
                    f"{system:6} checkout of the last {out:6.2f} s{own}  largest process of the "
                    f"adds {peak:.0f} MiB  {'exact' if same == 0 else 'NOT EXACT'}",
                    flush=True,
                )


if __name__ == "__main__":
    args = sys.argv[1:]
    count = int(args.pop(0)) if args and args[0].isdigit() else 72
    main(count, args or ["theta", "lfs"])
