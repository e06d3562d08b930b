"""Fetches that are killed, that meet, or that cannot write: what arrived stays, all is sound."""

from __future__ import annotations

import subprocess
from textwrap import dedent

import pytest

FRAIL = """
    import os, signal
    from pathlib import Path
    from git_theta.errors import StoreError
    from git_theta.hookspecs import hookimpl
    from git_theta.storage.folder import PackFolder
    from git_theta.storage.interface import StoreType

    class Frail(PackFolder):
        def get(self, packs, sizes, advance=lambda _: None):
            end = os.environ.get("FRAIL", "")
            for number, (pack, file) in enumerate(packs.items()):
                if end and number == int(os.environ.get("AFTER", "2")):
                    file.write_bytes(self.path(pack).read_bytes()[:100])
                    if end == "kill":
                        os.kill(os.getpid(), signal.SIGKILL)
                    if end == "stop":
                        raise KeyboardInterrupt
                    file.unlink()
                    raise StoreError("The network is gone")
                super().get({pack: file}, sizes, advance)

    class FrailType(StoreType):
        scheme = "frail"

        def open(self, url):
            return Frail(Path(url.removeprefix("frail://")))

    @hookimpl
    def theta_stores():
        return [FrailType()]
"""


@pytest.fixture
def clone(tracked, model, tmp_path):
    """A clone without weights of five versions, whose store breaks after two packs if told to."""
    for seed in range(5):
        tracked.write("m.pt", model(seed))
        tracked.commit(f"Seed {seed}")
    site = tmp_path / "site"
    info = site / "theta_frail-1.dist-info"
    info.mkdir(parents=True)
    (site / "theta_frail.py").write_text(dedent(FRAIL))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theta-frail\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[git_theta]\nmain = theta_frail\n")
    tracked.env["PYTHONPATH"] = str(site)
    store = f"remote.origin.thetaStore=frail://{tracked.store / 'objects'}"
    command = ["clone", "--quiet", "-c", store, tracked.bare("bare.git"), "clone"]
    tracked.git(*command, cwd=tmp_path, GIT_THETA_SKIP_SMUDGE="1")
    return tracked.at(tmp_path / "clone")


@pytest.mark.parametrize(("end", "code"), [("kill", -9), ("stop", 130), ("fail", 31)])
def test_a_fetch_that_ends_early_goes_on_where_it_was(clone, tracked, end, code):
    done = clone.run("git-theta", "fetch", "--all", FRAIL=end)
    assert done.returncode == code
    assert len(tracked.packs()) == 5
    assert clone.packs().keys() <= tracked.packs().keys()
    said = clone.theta("fetch", "--all")
    assert said.returncode == 0, said.stderr
    already = 0 if end == "kill" else 2
    assert f"Fetched {5 - already} packs" in said.stdout
    assert clone.packs().keys() == tracked.packs().keys()
    assert clone.theta("fsck").returncode == 0


def test_fetches_at_the_same_time_do_not_disturb_each_other(clone, tracked):
    command = ["git-theta", "fetch", "--all"]
    options = {"cwd": clone.path, "env": clone.env, "stdout": subprocess.PIPE}
    running = [subprocess.Popen(command, stderr=subprocess.STDOUT, **options) for _ in range(3)]
    said = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
    assert clone.packs().keys() == tracked.packs().keys()
    assert clone.theta("fsck").returncode == 0


def test_a_store_that_cannot_be_written_to_is_said_to_be_so(clone):
    (clone.store / "objects").mkdir(parents=True, exist_ok=True)
    (clone.store / "objects" / "tmp").write_bytes(b"in the way")
    said = clone.refused("git", "theta", "fetch")
    assert f"Cannot write to the store {clone.store / 'objects'}" in said


def test_a_checkout_that_cannot_fetch_leaves_files_out_and_can_be_repeated(clone, model):
    clone.git("rm", "--quiet", "--cached", "m.pt")
    (clone.path / "m.pt").unlink()
    said = clone.refused("git", "reset", "--quiet", "--hard", FRAIL="fail", AFTER="0")
    assert "The network is gone" in said
    clone.git("reset", "--quiet", "--hard")
    assert clone.read("m.pt") == model(4)
    assert clone.status() == ""


def test_after_a_clone_whose_checkout_failed_one_is_told_what_to_run(clone, model):
    clone.git("rm", "--quiet", "-r", "--cached", ".")
    (clone.path / ".git" / "index").unlink()
    (clone.path / "m.pt").unlink()
    assert "git reset --hard" in clone.refused("git", "theta", "checkout")
    clone.git("reset", "--quiet", "--hard")
    assert clone.read("m.pt") == model(4)
