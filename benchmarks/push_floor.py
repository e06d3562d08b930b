"""How fast a push over loopback could be: hooks of a few lines against ours and Git LFS.

usage: python benchmarks/push_floor.py FOLDER [ROUNDS]

FOLDER is that of push.py. In place of ours, a hook does what a push cannot do without and nothing
else: ``send`` has the real git-lfs send the packs; ``all`` walks the pushed commits, checks the
packs' SHA-256 on all cores, sends, asks git-lfs again, and pushes a ref; ``beside`` does as much of
that at the same time as can be. Medians of the rounds.
"""

from __future__ import annotations

import os
import shlex
import shutil
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path

from push import push_anew, read_versions, served
from repository import Bench, bench

_CHECK = """
import hashlib, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

def check(name):
    assert hashlib.sha256(Path(name).read_bytes()).hexdigest() == Path(name).name

with ThreadPoolExecutor() as pool:
    list(pool.map(check, Path(sys.argv[1]).read_text().split()))
"""


def main() -> None:
    """Print a line for each way to push."""
    versions = read_versions(Path(sys.argv[1]))
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    name = f"model{versions[0].suffix}"
    seconds: dict[str, list[float]] = {}
    with bench("lfs", name) as lfs, bench("theta", name) as theta:
        for repository in (lfs, theta):
            for version in versions:
                shutil.copyfile(version, repository.file)
                repository.run(f"git add . && git commit -qm {version.stem}")
        hook = theta.path / ".git" / "hooks" / "pre-push"
        ways = {"Git LFS": "", "git-theta": hook.read_text(), **_hooks(theta)}
        with served(theta) as server:
            for number, (way, script) in enumerate([*ways.items()] * rounds):
                hook.write_text(script)
                repository = theta if script else lfs
                took = push_anew(repository, server, f"r{number}", through=False)
                seconds.setdefault(way, []).append(took)
    whole = statistics.median(seconds["Git LFS"])
    for way, taken in seconds.items():
        median = statistics.median(taken)
        print(f"{way:10} {median:6.3f} s  {median / whole:.2f} of Git LFS")


def _hooks(theta: Bench) -> Mapping[str, str]:
    """What stands in for our hook, by the name of what it does."""
    top = theta.path.parent
    packs = [file for file in (theta.path / ".git/theta/objects").rglob("*") if file.is_file()]
    for pack in packs:
        link = top / "scratch" / "objects" / pack.name[:2] / pack.name[2:4] / pack.name
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(pack, link)
    (top / "oids").write_text("".join(f"{pack.name}\n" for pack in packs))
    (top / "files").write_text("".join(f"{pack}\n" for pack in packs))
    (top / "check.py").write_text(_CHECK)
    scratch, oids, files, check, fifo = (
        shlex.quote(str(top / name)) for name in ("scratch", "oids", "files", "check.py", "fifo")
    )
    head = "#!/bin/sh\nset -e\n"
    lfs = f"git -c lfs.storage={scratch} lfs push --object-id --stdin $1 >/dev/null 2>&1"
    walk = "git rev-list --objects HEAD | git cat-file --batch >/dev/null"
    verify = f"{shlex.quote(sys.executable)} {check} {files}"
    ref = "git push --no-verify -q $1 HEAD:refs/theta/floor"
    send = f"{lfs} < {oids}"
    started = f"rm -f {fifo}; mkfifo {fifo}\n{lfs} < {fifo} &"
    return {
        "send": f"{head}{send}\n",
        "all": f"{head}{walk}\n{verify}\n{send}\n{send}\n{ref}\n",
        "beside": f"{head}{started}\n{walk}\n{verify}\ncat {oids} > {fifo}\nwait $!\n"
        f"{send} &\n{ref}\nwait $!\n",
    }


if __name__ == "__main__":
    main()
