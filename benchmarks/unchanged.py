"""What the filter costs where nothing changed: git add of a file that was only touched.

usage: unchanged.py MODEL [RUNS]
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
from pathlib import Path

from repository import SETUP, Bench, bench


def touched(repo: Bench) -> float:
    """Seconds of git add after the file's time changed."""
    stat = repo.file.stat()
    os.utime(repo.file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
    return repo.run(f"git add {repo.file.name}")


def main(model: Path, runs: int) -> None:
    """Print the median of each system, and what each costs more than git alone."""
    found = {}
    for system in reversed(SETUP):
        with bench(system, f"model{model.suffix}") as repo:
            shutil.copyfile(model, repo.file)
            repo.run("git add . && git commit -qm 1")
            touched(repo)
            found[system] = statistics.median(touched(repo) for _ in range(runs))
            version = repo.run("git theta --version")
    for system, seconds in found.items():
        print(f"{system:6} {seconds:.3f} s  {seconds - found['git']:+.3f} s")
    print(f"git theta --version {version:.3f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 7)
