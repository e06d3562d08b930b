"""What git waits for imports no framework, and the smallest commands next to nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import msgpack
import numpy as np
import pytest
import safetensors.numpy

FRAMEWORKS = {
    "torch",
    "tensorflow",
    "jax",
    "jaxlib",
    "flax",
    "keras",
    "h5py",
    "ml_dtypes",
    "orbax",
    "tensorstore",
}


def imported(stderr):
    """Top-level modules that ``python -X importtime`` reports."""
    names = re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", stderr, re.MULTILINE)
    return {name.partition(".")[0] for name in names}


@pytest.fixture
def importing(tracked, tmp_path):
    """Makes git run a filter that logs its imports; tells the modules imported since the start."""
    folder, log = tmp_path / "logging", tmp_path / "imports.log"
    folder.mkdir()
    wrapper = folder / "git-theta-filter"
    call = "from git_theta.git.filter import main; import sys; sys.exit(main())"
    wrapper.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -X importtime -c "{call}" "$@" 2>> "{log}"\n'
    )
    wrapper.chmod(0o755)
    tracked.env["PATH"] = f"{folder}:{tracked.env['PATH']}"

    def modules():
        found = imported(log.read_text()) if log.exists() else set()
        log.write_text("")
        return found

    return modules


def test_the_filter_imports_no_framework(tracked, importing, weights):
    checkpoint = next((weights("chgnet") / "chgnet/pretrained/0.3.0").glob("*.pth.tar"))
    changed = bytearray(checkpoint.read_bytes())
    changed[len(changed) // 2] ^= 1
    commands = {
        "clean": ["add", "m.pt"],
        "smudge": ["checkout", "--", "m.pt"],
        "status": ["status", "--porcelain"],
        "diff": ["diff"],
        "stash": ["stash"],
    }
    tracked.write("m.pt", checkpoint)
    for what, command in commands.items():
        if what == "smudge":
            tracked.git("commit", "--quiet", "--message", "Model")
            (tracked.path / "m.pt").unlink()
            importing()
        if what == "status":
            tracked.write("m.pt", bytes(changed))
        tracked.git(*command)
        found = importing()
        assert "git_theta" in found, what
        assert found & FRAMEWORKS == set(), what
    assert "torch" in tracked.git("show", "HEAD:m.pt").split("\n")[1]


def test_the_filter_imports_none_for_tensorflow_and_keras(tracked, importing, weights):
    tracked.git("theta", "track", "*.h5", ".index", ".data-*")
    tracked.write("m.h5", weights("spliceai") / "spliceai/models/spliceai1.h5")
    for name in (".index", ".data-00000-of-00001"):
        tracked.write(name, weights("musicnn") / "musicnn/MTT_musicnn" / name)
    for command in (["add", "."], ["commit", "-qm", "Models"], ["status"], ["checkout", "."]):
        if command == ["status"]:
            for name in ("m.h5", ".data-00000-of-00001"):
                data = bytearray(tracked.read(name))
                data[len(data) // 2] ^= 1
                tracked.write(name, bytes(data))
        tracked.git(*command)
        found = importing()
        assert command[0] == "commit" or "git_theta" in found
        assert found & FRAMEWORKS == set()
    assert "hdf5" in tracked.git("show", "HEAD:m.h5").split("\n")[1]
    assert "tensorflow" in tracked.git("show", "HEAD:.data-00000-of-00001").split("\n")[1]


def test_the_filter_imports_none_for_flax_and_orbax(tracked, importing):
    array = msgpack.ExtType(1, msgpack.packb(((8,), "float32", bytes(32))))
    said = {"zarr_format": 2, "shape": [8], "chunks": [8], "dtype": "<f4", "order": "C"}
    said |= {"compressor": None, "filters": None}
    tracked.git("theta", "track", "*.msgpack", "ckpt/w/0")
    tracked.write("m.msgpack", msgpack.packb({"w": array}))
    tracked.write("ckpt/w/.zarray", json.dumps(said).encode())
    tracked.write("ckpt/w/0", bytes(32))
    for command in (["add", "."], ["commit", "-qm", "Models"], ["status"], ["checkout", "."]):
        if command == ["status"]:
            tracked.write("m.msgpack", msgpack.packb({"v": array}))
            tracked.write("ckpt/w/0", bytes(31) + b"1")
        tracked.git(*command)
        found = importing()
        assert command[0] == "commit" or "git_theta" in found
        assert found & FRAMEWORKS == set()
    assert "flax-msgpack" in tracked.git("show", "HEAD:m.msgpack").split("\n")[1]
    assert "zarr" in tracked.git("show", "HEAD:ckpt/w/0").split("\n")[1]


def test_an_unchanged_file_is_cleaned_without_reading_any_format(tracked, importing, model):
    tracked.write("m.pt", model())
    tracked.commit("Model")
    importing()
    assert tracked.status() == ""
    found = importing()
    assert "git_theta" in found
    assert found & {*FRAMEWORKS, "numpy", "zstandard", "msgpack", "pluggy", "click"} == set()
    assert found & {"dataclasses", "hashlib", "inspect", "json", "shlex", "tempfile"} == set()


def test_numpy_waits_until_something_is_to_be_stored(tracked, importing):
    def model(seed):
        rng = np.random.default_rng(seed)
        groups = {f"b{n}": rng.standard_normal(64, np.float32) for n in range(40)}  # a bundle
        return safetensors.numpy.save({"w": rng.standard_normal((128, 128), np.float32)} | groups)

    for seed in (0, 1):
        tracked.write("m.pt", model(seed))
        tracked.commit("Model")
    importing()
    tracked.write("m.pt", model(0))  # as a revert does
    tracked.git("add", "m.pt")
    assert "numpy" not in importing()
    tracked.write("m.pt", model(2))
    tracked.git("status", "--porcelain")
    assert "numpy" not in importing()
    tracked.git("add", "m.pt")
    assert "numpy" in importing()


@pytest.mark.parametrize(
    ("command", "seldom"),
    [
        ("add", {"dataclasses", "shlex", "tempfile", "theta_pytorch.archive", "zipfile"}),
        ("checkout", {"dataclasses", "hashlib", "json", "shlex", "tempfile", "theta_pytorch"}),
    ],
)
def test_a_changed_file_waits_for_nothing_that_is_seldom_needed(command, seldom):
    script = """
import sys
from importlib import import_module
from git_theta.git.meanwhile import COMMANDS
for name in ("git_theta.git.answers", *COMMANDS[sys.argv[1]]):
    import_module(name)
if sys.argv[1] == "add":
    from git_theta.formats import builtin
    from theta_pytorch import plugin
    for module in (builtin, plugin):
        module.theta_checkpoint_formats()
print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, command], capture_output=True, text=True, check=True
    )
    assert seldom.isdisjoint(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--version"], {"numpy", "click", "pluggy", "zstandard", "sqlite3", "blake3"}),
        (["track", "--help"], {"numpy", "zstandard", "sqlite3"}),
        (["plugins"], set()),
    ],
    ids=["version", "help", "plugins"],
)
def test_small_commands_import_little(tracked, arguments, heavy):
    call = "from git_theta.cli.main import main; import sys; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", call, *arguments],
        cwd=tracked.path,
        env=tracked.env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert imported(done.stderr).isdisjoint(FRAMEWORKS | heavy)


def test_a_push_does_without_numpy(tracked, model):
    tracked.write("m.pt", model())
    tracked.commit("Model")
    tracked.git("remote", "add", "origin", tracked.bare("origin.git"))
    done = tracked.run("git", "push", "origin", "main", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0, done.stderr
    found = imported(done.stderr)
    assert "git_theta" in found
    assert "numpy" not in found
