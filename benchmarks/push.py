"""Push a history of one file, v0 to v8, all at once: bytes that servers get, and seconds.

usage: python benchmarks/push.py FOLDER [ROUNDS]

FOLDER has the versions of one file, in the order of their names. Each of git-theta and Git LFS
pushes to a repository on this machine (``path``), to a Git LFS server, giftless, over loopback at
the speed of memory (``server``), to that server through a proxy that counts bytes (``proxy``), and
through the same at 1 Gbit/s (``wire``). Of the rounds the shortest counts.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from repository import Bench, bench

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from fixture_servers import GIFTLESS, LfsServer, environment, giftless

RATES = {"server": None, "proxy": 0, "wire": 125_000_000}
"""Bytes a second of the proxy between git and the server, 0: any number, None: there is none."""


def main() -> None:
    """Print a line for each system and place."""
    folder = Path(sys.argv[1])
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    versions = read_versions(folder)
    found: dict[tuple[str, str], tuple[float, int]] = {}
    for system in ("theta", "lfs"):
        with bench(system, f"model{versions[0].suffix}") as repository:
            for version in versions:
                shutil.copyfile(version, repository.file)
                repository.run(f"git add . && git commit -qm {version.stem}")
            found[system, "path"] = _to_a_path(repository, rounds)
            for place, figures in _to_a_server(repository, rounds).items():
                found[system, place] = figures
    print(f"{len(versions)} versions, {sum(file.stat().st_size for file in versions):,} bytes")
    for place in ("path", *RATES):
        (seconds, sent), (lfs_seconds, lfs_sent) = found["theta", place], found["lfs", place]
        print(
            f"{place:6}  git-theta {sent:>11,} bytes {seconds:6.2f} s"
            f"  Git LFS {lfs_sent:>11,} bytes {lfs_seconds:6.2f} s"
            f"  ratio {sent / lfs_sent:.3f} {seconds / lfs_seconds:.2f}"
        )


def read_versions(folder: Path) -> list[Path]:
    """The files ``v0`` and so on of a folder."""
    return sorted(
        file for file in folder.iterdir() if file.stem.startswith("v") and file.stem[1:].isdigit()
    )


@contextmanager
def served(repository: Bench) -> Iterator[LfsServer]:
    """A Git LFS server on loopback that runs; its objects lie beside the repository."""
    folder = repository.path.parent / "server"
    folder.mkdir()
    server = giftless(environment("giftless", GIFTLESS), folder)
    try:
        server.start()
        yield server
    finally:
        server.close()
        shutil.rmtree(folder)


def _to_a_path(repository: Bench, rounds: int) -> tuple[float, int]:
    seconds, sent = [], 0
    for number in range(rounds):
        bare = repository.path.parent / f"bare{number}.git"
        repository.run(f"git init -q --bare {bare} && git remote add path{number} {bare}")
        seconds.append(repository.run(f"git push -q path{number} main"))
        objects = (bare / "lfs").rglob("*")
        sent = sum(file.stat().st_size for file in objects if file.is_file())
        shutil.rmtree(bare)
    return min(seconds), sent


def _to_a_server(repository: Bench, rounds: int) -> dict[str, tuple[float, int]]:
    """Seconds and bytes, of pushes to the server itself and through the proxy."""
    seconds: dict[str, list[float]] = {place: [] for place in RATES}
    with served(repository) as server:
        for number, place in enumerate([*RATES] * rounds):
            server.proxy.reset()
            server.proxy.rate = RATES[place] or 0
            through = RATES[place] is not None
            seconds[place].append(push_anew(repository, server, f"served{number}", through=through))
        return {place: (min(taken), server.proxy.sent) for place, taken in seconds.items()}


def push_anew(repository: Bench, server: LfsServer, remote: str, *, through: bool) -> float:
    """Push all to a new remote, whose weights go to the server, ``through`` its proxy or not."""
    url = server.url if through else f"http://127.0.0.1:{server.proxy.upstream}"
    bare = repository.path.parent / f"{remote}.git"
    repository.run(f"git init -q --bare {bare} && git remote add {remote} {bare}")
    repository.run(f"git config remote.{remote}.lfsurl {url}/org/{remote}.git/info/lfs")
    objects = server.object(f"org/{remote}", "x").parent
    objects.mkdir(parents=True)
    took = repository.run(f"git push -q {remote} main")
    shutil.rmtree(objects)
    return took


if __name__ == "__main__":
    main()
