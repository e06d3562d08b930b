"""Many small groups against few large ones of the same bytes: does the price of a group matter?

usage: small_groups.py MODEL.safetensors [RUNS]
The values are those of a real F32 model, repeated where more are needed. ``least`` is what no code
of ours can leave out for the many: reading the header by json, a digest a group by BLAKE3, and
having git store a line for each.
"""

from __future__ import annotations

import json
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import blake3
import numpy as np
from repository import bench
from safetensors.numpy import save_file

MANY, FEW = 50_000, 50
SIZES = (1_000, 1_800, 4_000, 8_000)
"""Bytes of each of the many groups."""


def write(path: Path, values: np.ndarray, count: int) -> None:
    """Write a safetensors file of ``count`` groups of equal size."""
    parts = np.split(values, count)
    save_file({f"model.layers.{n}.weight": part for n, part in enumerate(parts)}, path)


def least(path: Path) -> float:
    """Seconds of what cannot be left out for a file's groups."""
    raw = path.read_bytes()
    start = time.perf_counter()
    end = 8 + struct.unpack_from("<Q", raw)[0]
    header, data = json.loads(raw[8:end]), memoryview(raw)[end:]
    lines = []
    for name, tensor in header.items():
        first, last = tensor["data_offsets"]
        digest = blake3.blake3(data[first:last]).hexdigest()
        lines.append(f"group {name} {tensor['dtype']} {tensor['shape']} {digest}\n")
    text = "".join(lines).encode()
    with tempfile.TemporaryDirectory() as folder:
        took = time.perf_counter() - start
        subprocess.run(["git", "init", "-q", folder], check=True)
        start = time.perf_counter()
        store = ["git", "-C", folder, "-c", "core.compression=1", "hash-object", "-w", "--stdin"]
        subprocess.run(store, input=text, stdout=subprocess.DEVNULL, check=True)
        return took + time.perf_counter() - start


def main(model: str, runs: int) -> None:
    """Print a row for each size of group."""
    raw = Path(model).read_bytes()
    start = 8 + struct.unpack_from("<Q", raw)[0]
    values = np.frombuffer(raw[start : start + (len(raw) - start) // 4 * 4], "<f4")
    print("bytes a group      MB   add few   add many  ratio  least   checkout few   many")
    for size in SIZES:
        needed = np.resize(values, MANY * size // 4)
        with tempfile.TemporaryDirectory() as folder:
            files = {count: Path(folder, f"{count}.safetensors") for count in (FEW, MANY)}
            for count, path in files.items():
                write(path, needed, count)
            floor = statistics.median(least(files[MANY]) for _ in range(runs))
            adds: dict[int, list[float]] = {FEW: [], MANY: []}
            outs: dict[int, list[float]] = {FEW: [], MANY: []}
            for _ in range(runs):
                for count, path in files.items():
                    with bench("theta", "m.safetensors") as repo:
                        shutil.copyfile(path, repo.file)
                        adds[count].append(repo.run("git add m.safetensors"))
                        repo.file.unlink()
                        outs[count].append(repo.run("git checkout -q m.safetensors"))
        few, many = statistics.median(adds[FEW]), statistics.median(adds[MANY])
        shown = f"{size:13}  {MANY * size / 1e6:6.1f}  {few:8.2f}  {many:9.2f}  {many / few:5.2f}"
        shown += f"  {floor:5.2f}"
        print(
            f"{shown}  {statistics.median(outs[FEW]):13.2f}  {statistics.median(outs[MANY]):5.2f}"
        )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3)
