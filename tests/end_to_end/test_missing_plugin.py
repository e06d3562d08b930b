"""A user whose environment lacks the plugin of a format: quiet, and never degraded."""

from __future__ import annotations

import os
import shutil

import pytest


@pytest.fixture
def kernel_only(desk, kernel_programs):
    """Makes the user's programs those of an environment with the kernel and no plugin."""

    def switch():
        desk.env["PATH"] = f"{kernel_programs()}{os.pathsep}{desk.env['PATH']}"
        desk.env.pop("PYTHONPATH", None)
        said = desk.theta("plugins")
        assert said.returncode == 0, said.stderr
        assert "theta-pytorch" not in said.stdout

    return switch


@pytest.fixture
def versions(weights):
    """Two versions of a PyTorch checkpoint."""
    folder = weights("chgnet") / "chgnet/pretrained"
    return [next(folder.glob(f"{name}/*.pth.tar")) for name in ("0.3.0", "r2scan")]


@pytest.fixture
def clone(desk, versions, kernel_only):
    """A clone of a repository with a PyTorch checkpoint, in hands that lack theta-pytorch."""
    desk.theta("track", "*.pt", "*.bin")
    desk.write("m.pt", versions[0])
    desk.commit("First")
    desk.write("m.pt", versions[1])
    desk.commit("Second")
    assert "theta-pytorch" in desk.git("show", "HEAD:m.pt")
    kernel_only()
    return desk.clone("clone")


def test_a_clone_without_the_plugin_is_quiet_and_exact(clone, versions):
    assert (clone.read("m.pt"), clone.status()) == (versions[1].read_bytes(), "")
    clone.git("checkout", "--quiet", "HEAD~1")
    assert (clone.read("m.pt"), clone.status()) == (versions[0].read_bytes(), "")
    clone.git("checkout", "--quiet", "main")
    (clone.path / "m.pt").unlink()
    clone.git("theta", "checkout")
    clone.git("theta", "add", "m.pt")
    assert (clone.read("m.pt"), clone.status()) == (versions[1].read_bytes(), "")
    assert clone.theta("fsck").returncode == 0


def test_a_git_that_ends_is_not_taken_for_one_that_has_no_metadata(clone, versions, tmp_path):
    git = tmp_path / "ending" / "git"
    git.parent.mkdir()
    real = shutil.which("git", path=clone.env["PATH"])
    git.write_text(f'#!/bin/sh\n[ "$1" != cat-file ] || exit 3\nexec {real} "$@"\n')
    git.chmod(0o755)
    clone.write("m.pt", versions[0])
    packs = clone.packs()
    clone.env["PATH"] = f"{git.parent}{os.pathsep}{clone.env['PATH']}"
    said = clone.refused("sh", "-c", "exec git-theta-filter clean m.pt <m.pt")
    assert "ended with code 3 before it answered" in said
    assert clone.packs() == packs


@pytest.mark.parametrize("command", ["add m.pt", "commit -a -m no", "theta add m.pt", "stash"])
def test_a_changed_file_is_refused_with_the_line_that_installs_the_plugin(clone, versions, command):
    clone.write("m.pt", versions[0])
    entry, packs = clone.git("ls-files", "-s"), clone.packs()
    said = clone.refused("git", *command.split())
    assert "pip install theta-pytorch" in said
    assert "Traceback" not in said
    assert clone.git("ls-files", "-s") == entry
    assert clone.packs() == packs
    assert clone.read("m.pt") == versions[0].read_bytes()


def test_status_still_tells_that_a_file_changed(clone, versions):
    clone.write("m.pt", versions[0])
    assert clone.git("status", "--porcelain") == " M m.pt\n"


def test_going_back_to_the_commits_version_is_possible(clone, versions):
    clone.write("m.pt", versions[0])
    clone.git("checkout", "--", "m.pt")
    assert (clone.read("m.pt"), clone.status()) == (versions[1].read_bytes(), "")


def test_files_of_other_formats_can_be_added(clone, model):
    clone.write("other.bin", model())
    clone.commit("Another")
    assert "safetensors git-theta-core" in clone.git("show", "HEAD:other.bin")
    assert clone.status() == ""
