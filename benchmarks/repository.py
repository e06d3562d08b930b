"""A throw-away repository in which one system tracks one file: what the benchmarks run in."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SETUP = {
    "theta": "git theta install --local && git theta track FILE",
    "lfs": "git lfs install --local && git lfs track FILE",
    "git": "true",
}
"""How each system is set up; ``git`` keeps the file itself."""


class Bench:
    """The repository; every command's seconds are measured."""

    def __init__(self, top: Path, system: str, name: str) -> None:
        self.path = top / "repo"
        self.file = self.path / name
        home = top / "home"
        home.mkdir()
        self.path.mkdir()
        self._env = {
            **os.environ,
            "HOME": str(home),
            "GIT_CONFIG_NOSYSTEM": "1",
            **{
                f"GIT_{who}_{what}": "b"
                for who in ("AUTHOR", "COMMITTER")
                for what in ("NAME", "EMAIL")
            },
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        self.run("git init -q -b main . && git config core.compression 1 && git config gc.auto 0")
        self.run(SETUP[system].replace("FILE", name) + " && touch .gitattributes")
        self.run("git add .gitattributes && git commit -qm attributes")

    def run(self, command: str) -> float:
        """Run a shell command; its seconds."""
        start = time.perf_counter()
        subprocess.run(
            command, shell=True, cwd=self.path, env=self._env, check=True, stdout=subprocess.DEVNULL
        )
        return time.perf_counter() - start

    def stored(self) -> int:
        """Bytes of all weights that the repository keeps."""
        kept = [self.path / ".git" / system for system in ("theta", "lfs", "objects")]
        return sum(file.stat().st_size for top in kept for file in top.rglob("*") if file.is_file())


@contextmanager
def bench(system: str, name: str) -> Iterator[Bench]:
    """A repository that is removed afterwards; ``BENCH_TMP`` says on which disk."""
    top = Path(tempfile.mkdtemp(prefix=f"bench-{system}-", dir=os.environ.get("BENCH_TMP")))
    try:
        yield Bench(top, system, name)
    finally:
        shutil.rmtree(top)


def peak_of_children() -> float:
    """The largest resident set of any process that ended, in MiB."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
