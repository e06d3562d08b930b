"""Clone a history of one file, v0 to v8, from a Git LFS server: bytes that come from it.

usage: python benchmarks/clone.py FOLDER

FOLDER has the versions of one file, in the order of their names. They are pushed to a server
(giftless) on loopback, behind a proxy that counts. Each version is cloned afresh; then one clone
of the first goes through all others, in their order. What is written is compared with the version.
"""

from __future__ import annotations

import filecmp
import shutil
import sys
from pathlib import Path

from push import read_versions, served
from repository import bench


def main() -> None:
    """Print a line for each version."""
    versions = read_versions(Path(sys.argv[1]))
    with bench("theta", f"model{versions[0].suffix}") as repository, served(repository) as server:
        repository.run("git theta install")  # for the user, so for the clones
        for version in versions:
            shutil.copyfile(version, repository.file)
            repository.run(f"git add . && git commit -qm {version.stem} && git tag {version.stem}")
        bare = repository.path.parent / "bare.git"
        lfs = f"{server.url}/org/model.git/info/lfs"
        server.object("org/model", "x").parent.mkdir(parents=True)
        repository.run(f"git init -q --bare {bare} && git remote add origin {bare}")
        repository.run(f"git config remote.origin.lfsurl {lfs} && git push -q --tags origin main")

        def fetched(command: str, version: Path, folder: Path) -> tuple[int, int]:
            server.proxy.reset()
            repository.run(command)
            assert filecmp.cmp(folder / repository.file.name, version, shallow=False), version
            objects = server.proxy.matching("GET", "/storage/")
            return len(objects), sum(seen.received for seen in objects)

        clone = f"git clone -q -c advice.detachedHead=false -c remote.origin.lfsurl={lfs}"
        walked = repository.path.parent / "walked"
        print("version  a fresh clone                      after the version before")
        for number, version in enumerate(versions):
            made = repository.path.parent / f"clone{number}"
            first = fetched(f"{clone} --branch {version.stem} {bare} {made}", version, made)
            if number:
                shutil.rmtree(made)
                then = fetched(f"git -C {walked} checkout -q {version.stem}", version, walked)
            else:
                made.rename(walked)
                then = first
            size = version.stat().st_size
            print(
                version.stem,
                *(f"{n:6} packs {got:>11,} bytes {got / size:.3f}" for n, got in (first, then)),
            )


if __name__ == "__main__":
    main()
