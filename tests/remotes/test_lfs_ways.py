"""The ways on which git-lfs gets to a server are ours as well: credentials, ssh, agents."""

from __future__ import annotations

import base64
import hashlib
import shlex
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from faulty_proxy import Fault
from fixture_servers import LfsServer
from git_theta.errors import MissingPackError, StoreError
from git_theta.storage.lfs import LfsStoreType

DATA = b"a pack" * 1000
PACK = hashlib.sha256(DATA).hexdigest()
SIZES = {PACK: len(DATA)}

AGENT = """
import json, pathlib, shutil, sys
folder = pathlib.Path(sys.argv[1])
for line in sys.stdin:
    asked = json.loads(line)
    answer = {}
    if asked["event"] in ("upload", "download"):
        kept = folder / asked["oid"]
        answer = {"event": "complete", "oid": asked["oid"]}
        if asked["event"] == "upload":
            shutil.copyfile(asked["path"], kept)
        elif kept.exists():
            shutil.copyfile(kept, kept.with_suffix(".sent"))
            answer["path"] = str(kept.with_suffix(".sent"))
        else:
            answer["error"] = {"code": 2, "message": "nothing of that name"}
    elif asked["event"] == "terminate":
        break
    print(json.dumps(answer), flush=True)
"""


def git(*args: str) -> None:
    subprocess.run(["git", *args], check=True, capture_output=True)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a repository, the current folder, and a pack."""
    git("init", "--quiet", str(tmp_path / "here"))
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / PACK).write_bytes(DATA)
    return tmp_path


def there_and_back(folder: Path) -> None:
    """A pack is not at ``origin``, is sent there, and comes back."""
    store = LfsStoreType().open("lfs://origin")
    assert store.missing(SIZES) == {PACK}
    with pytest.raises(MissingPackError):
        store.get({PACK: folder / "got"}, SIZES)
    store.put({PACK: folder / PACK})
    assert store.missing(SIZES) == set()
    store.get({PACK: folder / "got"}, SIZES)
    assert (folder / "got").read_bytes() == DATA


def test_credentials_come_from_gits_helper(lfs_server: LfsServer, here: Path) -> None:
    git("remote", "add", "origin", lfs_server.endpoint(f"org/{uuid4().hex}"))
    lfs_server.proxy.authorization = "Basic " + base64.b64encode(b"ada:enigma").decode()
    store = LfsStoreType().open("lfs://origin")
    with pytest.raises(StoreError, match="Log in"):
        store.missing(SIZES)
    git("config", "credential.helper", "!printf 'username=ada\\npassword=enigma\\n'; :")
    there_and_back(here)


def test_a_remote_over_ssh_tells_where_its_objects_are(
    lfs_server: LfsServer, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{lfs_server.endpoint('org/' + uuid4().hex)}/info/lfs"
    ssh = here / "ssh"
    ssh.write_text(
        "#!/bin/sh\n"
        'case "$*" in *git-lfs-authenticate*) ;; *) exit 1;; esac\n'
        f'echo \'{{"href": "{url}"}}\'\n'
    )
    ssh.chmod(0o755)
    monkeypatch.setenv("GIT_SSH", str(ssh))
    git("remote", "add", "origin", "git@host.invalid:team/models.git")
    there_and_back(here)


def test_an_agent_that_stands_alone_is_used(here: Path) -> None:
    (here / "agent.py").write_text(AGENT)
    (here / "kept").mkdir()
    git("remote", "add", "origin", "https://host.invalid/team/models.git")
    git("config", "lfs.standalonetransferagent", "kept")
    git("config", "lfs.customtransfer.kept.path", sys.executable)
    args = shlex.join([str(here / "agent.py"), str(here / "kept")])
    git("config", "lfs.customtransfer.kept.args", args)
    there_and_back(here)
    assert (here / "kept" / PACK).read_bytes() == DATA


def test_errors_do_not_tell_secrets(lfs_server: LfsServer, here: Path) -> None:
    url = lfs_server.endpoint(f"org/{uuid4().hex}").replace("://", "://ada:enigma@")
    git("remote", "add", "origin", url)
    git("config", "lfs.transfer.maxretries", "1")
    lfs_server.proxy.fault(Fault("POST", times=99, status=403))
    with pytest.raises(StoreError, match=r"origin \(http://127") as asked:
        LfsStoreType().open("lfs://origin").missing(SIZES)
    lfs_server.proxy.reset()
    store = LfsStoreType().open("lfs://origin")
    store.put({PACK: here / PACK})
    lfs_server.proxy.fault(Fault("GET", times=99, status=403))
    with pytest.raises(StoreError, match="Cannot fetch") as fetched:
        store.get({PACK: here / "got"}, SIZES)
    for fault in (asked, fetched):
        assert "enigma" not in str(fault.value)
        assert "jwt" not in str(fault.value)


def test_a_bare_repository_and_a_work_tree_beside_it(
    lfs_server: LfsServer, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git("init", "--quiet", "--bare", str(here / "bare.git"))
    monkeypatch.chdir(here / "bare.git")
    git("remote", "add", "origin", lfs_server.endpoint(f"org/{uuid4().hex}"))
    there_and_back(here)
    assert not list((here / "bare.git").rglob(PACK))


def test_a_repository_of_sha256_objects(
    lfs_server: LfsServer, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git("init", "--quiet", "--object-format=sha256", str(here / "long"))
    monkeypatch.chdir(here / "long")
    git("remote", "add", "origin", lfs_server.endpoint(f"org/{uuid4().hex}"))
    there_and_back(here)
