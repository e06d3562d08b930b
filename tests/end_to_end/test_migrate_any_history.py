"""Histories made up at random go to git-theta and back: every version stays, and git is quiet."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")

EXAMPLES = int(os.environ.get("GIT_THETA_HISTORIES", "3"))
"""How many histories are tried."""

LFS, OFF = "filter=lfs diff=lfs merge=lfs -text", "-filter !diff !merge !text"
LINES = [
    f"*.pt {LFS}",
    f"*.bin {LFS}",
    f"* {LFS}\n.gitattributes {OFF}",
    f"a/ {LFS}",
    f"/m.pt {OFF}",
    f"**/b/* {LFS}",
    f"[attr]big {LFS}\n*.pt big",
    "*.pt text\n*.bin diff=other",
    f'"odd name.pt" {LFS}',
]
INNER = [f"*.pt {LFS}", f"*.bin {OFF}", f"/m.pt {OFF}", f"b/m.pt {LFS}"]
FILES = ["m.pt", "n.bin", "a/m.pt", "a/b/m.pt", "a/b/n.bin", "c.txt", "odd name.pt", "a/.hidden"]

attributes = st.fixed_dictionaries(
    {},
    optional={
        ".gitattributes": st.lists(st.sampled_from(LINES), max_size=3, unique=True),
        "a/.gitattributes": st.lists(st.sampled_from(INNER), max_size=2, unique=True),
    },
)
files = st.dictionaries(st.sampled_from(FILES), st.integers(0, 7), max_size=4)
commit = st.tuples(attributes, files, st.lists(st.integers(0, 6), max_size=2, unique=True))
options = st.sampled_from(
    [
        [],
        [],
        ["--exclude", "a/b/"],
        ["--exclude", "m.pt", "--exclude", "a/.hidden"],
        ["--include", "*.pt"],
        ["--include", "a/", "--include", "n.bin"],
        ["--include", "m.*", "--exclude", "/a/*"],
        ["--above", "15kB"],
        ["--include", "*.bin", "--above", "10kB"],
    ]
)


def contents(model):
    """Checkpoints, other bytes, text and nothing, of several lengths."""
    return [
        model(0, 16),
        model(1, 16),
        model(2, 2),
        b"",
        b"text\n",
        b"text\r\n" * 2000,
        os.urandom(40_000),
        b"\0\1",
    ]


def build(desk, history, data):
    """Make the commits; gives their ids, the last of them on main, and all of them tagged."""
    made = []
    for number, (lines, chosen, parents) in enumerate(history):
        for name in desk.git("ls-files", "-z").split("\0")[:-1]:
            (desk.path / name).unlink(missing_ok=True)
        for name, found in lines.items():
            desk.write(name, "\n".join([*found, ""]).encode())
        for name, which in chosen.items():
            desk.write(name, data[which])
        desk.git("add", "--all")
        tree = desk.git("write-tree").strip()
        older = dict.fromkeys(made[parent % len(made)] for parent in parents) if made else {}
        options = itertools.chain.from_iterable(("-p", parent) for parent in older)
        made.append(desk.git("commit-tree", "-m", f"{number}", *options, tree).strip())
        desk.git("update-ref", f"refs/tags/t{number}", made[-1])
    desk.git("reset", "--quiet", "--hard", made[-1])
    return made


def look(desk, count, driver):
    """All files of all commits, checked out; git must be quiet about each of them."""
    found = []
    for number in range(count):
        desk.git("checkout", "--quiet", "--force", "--detach", f"t{number}")
        desk.git("clean", "-fdq")
        assert desk.status() == "", number
        names = desk.git("ls-files", "-z").split("\0")[:-1]
        found.append({n: desk.read(n) for n in names if not n.endswith(".gitattributes")})
        for name in found[-1]:
            blob = subprocess.run(
                ["git", "cat-file", "blob", f"HEAD:{name}"],
                cwd=desk.path,
                capture_output=True,
                check=True,
            ).stdout
            form = desk.attribute("filter", name)
            assert blob.startswith(b"git-theta metadata") == (form == "theta" and blob != b"")
            assert driver != "theta" or form in ("theta", "lfs") or blob == found[-1][name]
    desk.git("checkout", "--quiet", "--force", "main")
    return found


@settings(
    max_examples=EXAMPLES,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink one takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(commit, min_size=1, max_size=4), options)
def test_every_version_of_any_history_is_the_same_there_and_back(desk, model, history, arguments):
    desk.git("config", "--global", "init.defaultBranch", "main")
    desk.git("lfs", "install", "--skip-repo")
    place = desk.path / "r"
    shutil.rmtree(place, ignore_errors=True)
    desk.git("init", "--quiet", str(place))
    repo = desk.at(place)
    made = build(repo, history, contents(model))
    before = look(repo, len(made), "lfs")

    done = repo.theta("migrate", "import", "--everything", *arguments)
    assert done.returncode == 0, done.stderr
    assert repo.status() == ""
    assert look(repo, len(made), "theta") == before
    repo.git("fsck", "--strict")

    done = repo.theta("migrate", "export", "--everything", "--force")
    assert done.returncode == 0, done.stderr
    assert repo.status() == ""
    assert look(repo, len(made), "lfs") == before
