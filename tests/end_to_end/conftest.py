"""Real commands in real repositories, with a home and a configuration of their own."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

import git_theta

PROGRAM = """\
#!{python} -S
import sys

sys.path.insert(0, {libraries!r})
from {module} import main

sys.exit(main())
"""


@dataclass
class Desk:
    """A user with a home and one repository; commands run as that user's shell would run them."""

    home: Path
    path: Path
    env: dict[str, str]
    prefix: list[str] = field(default_factory=list)
    """What stands before every command, to run it as another user."""

    def run(
        self, *command: str, cwd: Path | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.prefix, *command],
            cwd=cwd or self.path,
            env=self.env | env,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
        )

    def git(self, *args: str, cwd: Path | None = None, **env: str) -> str:
        done = self.run("git", *args, cwd=cwd, **env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def theta(
        self, *args: str, cwd: Path | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        return self.run("git", "theta", *args, cwd=cwd, **env)

    def attribute(self, name: str, path: str, cwd: Path | None = None) -> str:
        """What git says about one attribute of a path."""
        return self.git("check-attr", "-z", name, "--", path, cwd=cwd).split("\0")[2]

    def tracks(self, path: str, cwd: Path | None = None) -> bool:
        """Whether git hands a path to git-theta, and leaves its line endings alone."""
        states = self.attribute("filter", path, cwd), self.attribute("text", path, cwd)
        return states == ("theta", "unset")

    def refused(self, *command: str, cwd: Path | None = None, **env: str) -> str:
        """Run a command that must fail; what it wrote to stderr."""
        done = self.run(*command, cwd=cwd, **env)
        assert done.returncode != 0, f"{command} succeeded: {done.stdout}{done.stderr}"
        return done.stderr

    def write(self, name: str, data: bytes | Path) -> Path:
        """Write a file of the work tree, or copy one there."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(data, Path):
            shutil.copyfile(data, path)
        else:
            path.write_bytes(data)
        return path

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def commit(self, message: str, *names: str) -> None:
        """Add files, all of them by default, and commit them."""
        self.git("add", "--", *(names or ["."]))
        self.git("commit", "--quiet", "--message", message)

    def status(self, cwd: Path | None = None) -> str:
        """What has changed, after git was made to look at every file anew."""
        for name in self.git("ls-files", "-z", cwd=cwd).split("\0")[:-1]:
            file = (cwd or self.path) / name
            if file.is_file() and not file.is_symlink():
                os.utime(file)
        return self.git("status", "--porcelain", cwd=cwd)

    def at(self, path: Path) -> Desk:
        """The same user in another folder."""
        return replace(self, path=path)

    @property
    def store(self) -> Path:
        """The folder of the local store."""
        found = self.git("rev-parse", "--git-common-dir").removesuffix("\n")
        return (self.path / found / "theta").resolve()

    def packs(self) -> dict[str, Path]:
        """The packs of the local store by name."""
        folder = self.store / "objects"
        return {file.name: file for file in folder.glob("?" * 64)} if folder.is_dir() else {}

    def bare(self, name: str) -> str:
        """The path of a bare clone beside this repository, which has no packs."""
        target = str(self.path.parent / name)
        self.git("clone", "--quiet", "--bare", str(self.path), target)
        return target

    def clone(self, name: str, *options: str, url: str = "") -> Desk:
        """A clone beside this repository that has its packs, but not the index of them."""
        target = self.path.parent / name
        source = url or str(self.path)
        self.git("clone", "--quiet", "--no-checkout", *options, source, str(target))
        made = self.at(target)
        shutil.copytree(self.store / "objects", made.store / "objects")
        self.git("checkout", "--quiet", cwd=target)
        return made

    @property
    def attributes(self) -> bytes:
        return (self.path / ".gitattributes").read_bytes()

    @attributes.setter
    def attributes(self, content: bytes) -> None:
        (self.path / ".gitattributes").write_bytes(content)


@pytest.fixture
def newcomer(tmp_path: Path, repo: Any) -> Desk:
    """An empty repository of a user who never installed git-theta."""
    env = {name: value for name, value in os.environ.items() if name != "GIT_CONFIG_NOSYSTEM"}
    env |= {
        "GIT_CONFIG_SYSTEM": str(tmp_path / "system.gitconfig"),
        "GIT_CEILING_DIRECTORIES": str(tmp_path),
        "LC_ALL": "C.UTF-8",
    }
    return Desk(Path(os.environ["HOME"]), repo.path, env)


@pytest.fixture
def desk(newcomer: Desk) -> Desk:
    """An empty repository of a user who has installed git-theta."""
    newcomer.git("theta", "install")
    return newcomer


@pytest.fixture(scope="session")
def _tracked_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first repository of :func:`tracked` is kept, for others to be copied from."""
    return tmp_path_factory.mktemp("tracked")


@pytest.fixture
def tracked(newcomer: Desk, _tracked_once: Path) -> Desk:
    """A repository of a user who tracks ``*.safetensors``, ``*.pt`` and ``*.bin``."""
    config, repository = _tracked_once / ".gitconfig", _tracked_once / "repo"
    if not repository.exists():
        newcomer.git("theta", "install")
        newcomer.git("theta", "track", "*.safetensors", "*.pt", "*.bin")
        newcomer.commit("Track")
        shutil.copyfile(newcomer.home / ".gitconfig", config)
        shutil.copytree(newcomer.path, repository)
    else:
        shutil.copyfile(config, newcomer.home / ".gitconfig")
        shutil.copytree(repository, newcomer.path, dirs_exist_ok=True)
    return newcomer


def _model(seed: int = 0, rows: int = 64) -> bytes:
    values = {
        f"layer.{number}.weight": np.random.default_rng(number).standard_normal(
            (rows, 64), dtype=np.float32
        )
        for number in range(6)
    }
    if seed:
        name = f"layer.{seed % 6}.weight"
        other = np.random.default_rng(1000 + seed)
        values[name] = other.standard_normal((rows, 64), dtype=np.float32)
    return save(values)


@pytest.fixture
def model() -> Callable[..., bytes]:
    """Makes a safetensors checkpoint of six groups; a seed (from 1) changes one of them."""
    return _model


@pytest.fixture
def metadata_without_a_file() -> bytes:
    """Valid metadata of a file whose weights no store has."""
    empty, lost = hashlib.sha256(b"").hexdigest(), hashlib.sha256(b"lost").hexdigest()
    return (
        "git-theta metadata 1\n"
        "format unknown git-theta-core\n"
        f"file {empty} 100\n"
        f"skeleton {lost} 100 0\n"
        f"pack {lost} 1000 0\n"
    ).encode()


@pytest.fixture
def kernel_programs(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of the programs of an environment that has the kernel and no other plugin.

    It is told the names of the import packages of plugins that are there all the same.
    """

    def make(*plugins: str) -> Path:
        libraries, programs = tmp_path / "libraries", tmp_path / "programs"
        libraries.mkdir()
        programs.mkdir()
        for name in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
            for entry in Path(name).iterdir():
                ours = "theta" in entry.name and not entry.name.startswith(plugins or ("/",))
                if entry.suffix != ".pth" and not ours and entry.name != "__pycache__":
                    (libraries / entry.name).symlink_to(entry)
        for package in (git_theta, *map(import_module, plugins)):
            link = libraries / package.__name__
            if not link.exists():
                link.symlink_to(Path(str(package.__file__)).parent)
        modules = {"git-theta": "git_theta.cli.main", "git-theta-filter": "git_theta.git.filter"}
        for name, module in modules.items():
            text = PROGRAM.format(python=sys.executable, libraries=str(libraries), module=module)
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        return programs

    return make


@pytest.fixture
def filter_starts(newcomer: Desk, tmp_path: Path) -> Callable[[], list[str]]:
    """Counts filters: tells the arguments of each that git has started since the last call."""
    real = shutil.which("git-theta-filter", path=newcomer.env["PATH"])
    folder, log = tmp_path / "counting", tmp_path / "filter.log"
    folder.mkdir()
    wrapper = folder / "git-theta-filter"
    wrapper.write_text(f'#!/bin/sh\necho "$*" >> "{log}"\nexec "{real}" "$@"\n')
    wrapper.chmod(0o755)
    newcomer.env["PATH"] = f"{folder}{os.pathsep}{newcomer.env['PATH']}"
    log.touch()

    def started() -> list[str]:
        lines = log.read_text().splitlines()
        log.write_text("")
        return lines

    return started
