"""Real servers on loopback, for tests of what packs travel to: Git LFS (giftless) and S3 (moto).

Each runs in an environment of its own in the cache of the fixtures, behind a proxy that counts
and breaks things.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from faulty_proxy import FaultyProxy

GIFTLESS = (
    "giftless==0.6.2",
    "cryptography",
    "figcan==0.0.*",
    "flask-classful~=0.16",
    "flask-marshmallow~=0.15",
    "flask~=2.3",
    "marshmallow~=3.21",
    "PyJWT>=2.4,<2.10",
    "python-dateutil",
    "python-dotenv",
    "pyyaml",
    "typing-extensions",
    "webargs~=8.3",
    "werkzeug~=3.0",
)
"""The LFS server with what it needs and does not say."""

MOTO = ("moto[s3,server]==5.2.5",)
"""The S3 server."""

_GIFTLESS_CONFIG = """\
AUTH_PROVIDERS:
  - giftless.auth.allow_anon:read_write
LEGACY_ENDPOINTS: false
TRANSFER_ADAPTERS:
  basic:
    factory: giftless.transfer.basic_streaming:factory
    options:
      storage_class: giftless.storage.local_storage:LocalStorage
      storage_options:
        path: {objects}
PRE_AUTHORIZED_ACTION_PROVIDER:
  factory: giftless.auth.jwt:factory
  options:
    algorithm: HS256
    private_key: a-key-of-at-least-thirty-two-characters
"""

_ENVIRON = dict(os.environ)  # as it was before the tests: pip needs the user's settings
_CACHE = Path(
    os.environ.get("GIT_THETA_FIXTURES") or Path.home() / ".cache" / "git-theta" / "fixtures"
)
_IN_CI = os.environ.get("CI", "").lower() in ("1", "true")


class Server:
    """A process that listens on a port of its own choice; ``proxy`` is the way to it."""

    def __init__(self, command: list[str], env: dict[str, str], folder: Path) -> None:
        self.folder = folder
        """Where it keeps its data."""
        self.proxy = FaultyProxy()
        self._command, self._env = command, env
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Where clients find it."""
        return self.proxy.url

    def start(self) -> None:
        """Start it unless it runs; returns when it listens."""
        if self._process and self._process.poll() is None:
            return
        log = self.folder / "log"
        self._process = subprocess.Popen(
            self._command,
            env={**_ENVIRON, **self._env, "PYTHONUNBUFFERED": "1"},
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr
        said = []
        for line in self._process.stderr:
            said.append(line)
            if found := re.search(r"Running on http://127\.0\.0\.1:(\d+)", line):
                self.proxy.upstream = int(found[1])
                break
        else:
            raise AssertionError(f"Expected {self._command} to listen:\n{''.join(said)}")
        # What it says from now on is for whoever looks into the folder, and must not fill a pipe.
        shovel = [
            sys.executable,
            "-c",
            "import shutil, sys; shutil.copyfileobj(sys.stdin, sys.stdout)",
        ]
        with log.open("a") as out:
            self._shovel = subprocess.Popen(shovel, stdin=self._process.stderr, stdout=out)
        self._process.stderr.close()

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._shovel.wait()

    def close(self) -> None:
        self.kill()
        self.proxy.close()


class LfsServer(Server):
    """A Git LFS server."""

    def endpoint(self, repository: str) -> str:
        """The URL of a git remote, ``ORGANIZATION/NAME``, whose objects it has.

        Its folder is there before the first upload: of two that come at once, giftless lets one
        make it and answers the other with status 500, so that git-lfs sends a pack twice.
        """
        self.object(repository, "").mkdir(parents=True, exist_ok=True)
        return f"{self.url}/{repository}.git"

    def object(self, repository: str, pack: str) -> Path:
        """The file of an object."""
        return self.folder / "objects" / repository / pack


@pytest.fixture(scope="session")
def _lfs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LfsServer]:
    if not shutil.which("git-lfs"):
        pytest.fail("git-lfs is not installed") if _IN_CI else pytest.skip(
            "git-lfs is not installed"
        )
    server = giftless(environment("giftless", GIFTLESS), tmp_path_factory.mktemp("lfs-server"))
    yield server
    server.close()


def giftless(python: Path, folder: Path) -> LfsServer:
    """A Git LFS server that keeps all in a folder; it does not run yet."""
    (folder / "giftless.yaml").write_text(_GIFTLESS_CONFIG.format(objects=folder / "objects"))
    env = {
        "GIFTLESS_CONFIG_FILE": str(folder / "giftless.yaml"),
        "FLASK_APP": "giftless.wsgi_entrypoint",
    }
    command = [str(python), "-m", "flask", "run", "--host", "127.0.0.1", "--port", "0"]
    return LfsServer(command, env, folder)


@pytest.fixture
def lfs_server(_lfs_server: LfsServer) -> LfsServer:
    """A Git LFS server that runs, has no faults and has counted nothing yet."""
    _lfs_server.start()
    _lfs_server.proxy.reset()
    return _lfs_server


@pytest.fixture(scope="session")
def _s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    python = environment("moto", MOTO)
    code = "from moto.server import main; main(['--host', '127.0.0.1', '--port', '0'])"
    server = Server([str(python), "-c", code], {}, tmp_path_factory.mktemp("s3-server"))
    yield server
    server.close()


@pytest.fixture
def s3_server(_s3_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """An S3 server that runs, with an empty bucket ``packs``; the environment tells where it is."""
    _s3_server.start()
    settings = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "not-to-be-told",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": _s3_server.url,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    _s3_server.proxy.reset()
    bucket = Request(f"{_s3_server.url}/packs", method="PUT")
    urlopen(bucket, timeout=60).close()
    _s3_server.proxy.reset()
    return _s3_server


def environment(name: str, pins: tuple[str, ...]) -> Path:
    """The Python of an environment that has the pins; made in the cache unless it is there."""
    key = sha256("\n".join([*pins, sys.version]).encode()).hexdigest()[:12]
    folder = _CACHE / f"{name}-{key}"
    if not folder.is_dir():
        try:
            _make(folder, pins)
        except (OSError, subprocess.SubprocessError) as fault:
            reason = f"The server {name} cannot be installed: {fault}"
            pytest.fail(reason) if _IN_CI else pytest.skip(reason)
    return folder / "bin" / "python"


def _make(folder: Path, pins: tuple[str, ...]) -> None:
    """Make an environment; whoever is first of several processes is the one who counts."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="environment-") as name:
        made = Path(name, "made")
        venv = [sys.executable, "-m", "venv", "--without-pip", str(made)]
        subprocess.run(venv, check=True, env=_ENVIRON)
        pip = [sys.executable, "-m", "pip", "--python", str(made / "bin" / "python"), "install"]
        subprocess.run(
            [*pip, "--quiet", *pins], check=True, env=_ENVIRON, stdout=subprocess.DEVNULL
        )
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
