"""``git theta repack`` in a real history: git notices nothing, and every version comes back."""

from __future__ import annotations

import json
import os
import re
import signal

import numpy as np
import pytest
from safetensors.numpy import save
from test_failing_writes import KILL

VERSIONS = 4
MOMENTS = 12
"""At how many moments a repack is killed."""


def step(number):
    """A checkpoint after so many small steps of training."""
    rng = np.random.default_rng(0)
    values = {f"layer.{at}.weight": rng.standard_normal((64, 128), np.float32) for at in range(3)}
    values |= {f"layer.{at}.bias": rng.standard_normal(64, np.float32) for at in range(3)}
    for name in values:
        values[name] = values[name] + np.float32(number * 1e-5)
    return save(values, {"step": str(number)})


@pytest.fixture
def history(tracked):
    """Four versions on main, the last one staged only; their packs know nothing of each other."""
    for number in range(VERSIONS):
        tracked.write("m.safetensors", step(number))
        if number == VERSIONS - 1:
            tracked.git("add", "m.safetensors")
        else:
            tracked.commit(f"Step {number}")
    done = tracked.theta("repack", "--dense")
    assert done.returncode == 0, done.stderr
    return tracked


def assert_whole(desk):
    """Git is quiet, fsck is content, every version can be had."""
    assert desk.status() == "M  m.safetensors\n"
    desk.git("add", "m.safetensors")
    assert desk.status() == "M  m.safetensors\n"
    assert desk.git("diff") == ""
    checked = desk.theta("fsck", "--json")
    assert checked.returncode == 0, checked.stdout
    assert json.loads(checked.stdout)["versions"] == VERSIONS
    for number in range(VERSIONS - 1):
        revision = f"HEAD~{VERSIONS - 2 - number}"
        desk.git("worktree", "add", "--quiet", "--detach", str(desk.path / "w"), revision)
        assert desk.at(desk.path / "w").read("m.safetensors") == step(number)
        desk.git("worktree", "remove", "--force", "w")
    (desk.path / "m.safetensors").unlink()
    desk.git("checkout", "--", "m.safetensors")
    assert desk.read("m.safetensors") == step(VERSIONS - 1)


def metadata(desk):
    names = [":m.safetensors", *(f"HEAD~{n}:m.safetensors" for n in range(VERSIONS - 1))]
    return [desk.git("show", name) for name in names]


@pytest.mark.parametrize("proven", [True, False])
def test_git_is_quiet_after_a_repack_and_every_version_comes_back(history, proven):
    texts, old = metadata(history), set(history.packs())
    named = set(re.findall(r"^pack ([0-9a-f]{64})", "".join(texts), re.MULTILINE))
    done = history.theta("repack")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"4 versions: \S+ kB in 1 pack became .*, \S+ kB less\n", done.stdout)
    assert done.stderr == ""
    assert not set(history.packs()) & (named | old)
    if not proven:
        (history.store / "proven").unlink()
    assert_whole(history)
    assert metadata(history) == texts
    assert history.theta("repack").stdout.endswith(": nothing to gain\n")


def test_dense_and_back_give_the_same_files(history):
    packed = json.loads(history.theta("repack", "--json").stdout)
    assert packed["bytes_after"] < 0.8 * packed["bytes_before"]
    dense = json.loads(history.theta("repack", "--dense", "--json").stdout)
    assert dense["changed"]
    assert dense["bytes_after"] == packed["bytes_before"]
    assert_whole(history)


def test_a_dry_run_says_what_a_repack_then_does(history):
    packs = history.packs()
    said = history.theta("repack", "--dry-run").stdout
    assert history.packs() == packs
    assert " would become " in said
    assert history.theta("repack").stdout == said.replace(" would become ", " became ")


def test_a_clone_of_the_repacked_store_is_complete(history):
    history.git("commit", "--quiet", "--message", "Last")
    history.theta("repack")
    clone = history.clone("clone")
    assert clone.read("m.safetensors") == step(VERSIONS - 1)
    assert clone.status() == ""
    assert clone.theta("fsck").returncode == 0


def test_a_version_after_a_repack_stands_on_what_was_repacked(history):
    history.theta("repack")
    history.git("commit", "--quiet", "--message", "Last")
    history.write("m.safetensors", step(VERSIONS))
    before = set(history.packs())
    history.commit("One more")
    (pack,) = set(history.packs()) - before
    assert history.packs()[pack].stat().st_size < 0.8 * len(step(0))
    assert history.theta("fsck").returncode == 0


def test_a_repack_that_is_killed_at_any_moment_leaves_a_valid_store(history, tmp_path):
    folder, calls = tmp_path / "kill", tmp_path / "calls"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(KILL)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    history.theta("repack", PYTHONPATH=path, TEST_CALLS=str(calls))
    total = calls.stat().st_size
    killed = 0
    for moment in range(MOMENTS):
        options = [] if moment % 2 else ["--dense"]
        at = total - moment * total // MOMENTS - 1
        done = history.theta("repack", *options, PYTHONPATH=path, TEST_KILL_AT=str(at))
        killed += done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
        checked = history.theta("fsck")
        assert checked.returncode == 0, (at, checked.stdout)
    assert killed > MOMENTS // 2
    assert_whole(history)
    history.theta("repack")
    assert len(history.packs()) == 1
    assert not (history.store / "repack").exists()


def test_a_damaged_pack_stops_a_repack_that_then_changes_nothing(history):
    ((name, pack),) = history.packs().items()
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 0x10
    pack.chmod(0o644)
    pack.write_bytes(data)
    done = history.theta("repack")
    assert done.returncode == 30
    assert name in done.stderr
    assert "Run git theta fsck" in done.stderr
    assert "Traceback" not in done.stderr
    assert history.packs() == {name: pack}
    assert pack.read_bytes() == data


def test_an_empty_store_has_nothing_to_gain(tracked):
    assert tracked.theta("repack").stdout == "0 versions in 0 B in 0 packs: nothing to gain\n"


def test_outside_a_repository_it_is_an_error(newcomer, tmp_path):
    done = newcomer.theta("repack", cwd=tmp_path)
    assert done.returncode == 50
    assert "Traceback" not in done.stderr
