"""Packs of a remote that is a repository on this machine lie where git-lfs looks for objects."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from git_theta.errors import StoreError
from git_theta.storage.lfs import LfsStoreType
from git_theta.testing import StoreConformance

DATA = b"a pack" * 1000
PACK = hashlib.sha256(DATA).hexdigest()


def git(*args: str, cwd: Path | None = None) -> str:
    done = subprocess.run(["git", *args], cwd=cwd, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a bare one beside it, its remote ``origin``; the current folder."""
    git("init", "--quiet", "--bare", str(tmp_path / "remote.git"))
    git("init", "--quiet", str(tmp_path / "here"))
    monkeypatch.chdir(tmp_path / "here")
    git("remote", "add", "origin", "../remote.git")
    (tmp_path / PACK).write_bytes(DATA)
    return tmp_path


class TestPathRemote(StoreConformance):
    store_type = LfsStoreType()
    bad_urls = (
        "lfs://",
        "lfs://--upload-pack=x",
        "lfs://no-such-remote",
        "lfs://a\nb",
        "lfs:origin",
    )

    @pytest.fixture(autouse=True)
    def _here(self, here: Path) -> None:
        """Stand in the repository."""

    def url(self, folder: Path) -> str:
        remote, name = folder / "store.git", hashlib.sha256(str(folder).encode()).hexdigest()
        if not remote.exists():
            git("init", "--quiet", "--bare", str(remote))
            git("remote", "add", name, str(remote))
        return f"lfs://{name}"

    def corrupt(self, folder: Path, pack: str) -> None:
        file = next((folder / "store.git").rglob(pack))
        file.unlink()
        file.write_bytes(b"damaged")


def put(url: str, folder: Path) -> None:
    LfsStoreType().open(url).put({PACK: folder / PACK})


@pytest.mark.parametrize("place", ["remote.git", "remote", "file://{}/remote.git"])
def test_a_remote_is_found_as_git_finds_it(
    place: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = place.format(here) if "://" in place else f"../{place}"
    git("remote", "set-url", "origin", where)
    (here / "here" / "deep").mkdir()
    monkeypatch.chdir(here / "here" / "deep")
    put("lfs://origin", here)
    assert (here / f"remote.git/lfs/objects/{PACK[:2]}/{PACK[2:4]}/{PACK}").read_bytes() == DATA
    assert LfsStoreType().open("lfs://origin").missing({PACK: len(DATA)}) == set()


def test_a_remote_with_a_work_tree_and_a_storage_of_its_own(here: Path) -> None:
    git("init", "--quiet", str(here / "other"))
    git("config", "lfs.storage", "elsewhere", cwd=here / "other")
    git("remote", "add", "other", str(here / "other"))
    put("lfs://other", here)
    assert list((here / "other/.git/elsewhere/objects").rglob(PACK))


def test_a_url_stands_for_a_remote(here: Path) -> None:
    put(f"lfs://{here}/remote.git", here)
    assert LfsStoreType().open("lfs://origin").missing({PACK: len(DATA)}) == set()


def test_a_hook_opens_the_repository_that_git_names(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(here / "here" / ".git"))
    put("lfs://origin", here)
    assert list((here / "remote.git").rglob(PACK))


def test_no_repository_is_an_error_that_says_so(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git("remote", "set-url", "origin", "../gone.git")
    with pytest.raises(StoreError, match=r"gone.git.*\n.*git remote -v"):
        LfsStoreType().open("lfs://origin")
    monkeypatch.chdir("/")
    with pytest.raises(StoreError, match="Expected a git repository"):
        LfsStoreType().open("lfs://origin")


@pytest.mark.skipif(not shutil.which("git-lfs"), reason="git-lfs is not installed")
def test_git_lfs_itself_finds_the_packs(here: Path) -> None:
    put("lfs://origin", here)
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{PACK}\nsize {len(DATA)}\n"
    (here / "here" / "pointer").write_text(pointer)
    (here / "here" / ".gitattributes").write_text("pointer -filter\n")
    git("add", ".")
    git("commit", "--quiet", "--message", "A pointer")
    git("lfs", "fetch", "origin", "HEAD")
    assert list((here / "here/.git/lfs/objects").rglob(PACK))


def test_a_store_that_a_tracked_file_names_must_be_accepted(here: Path) -> None:
    (here / "here" / ".lfsconfig").write_text("[lfs]\n\turl = https://stranger.example/x\n")
    git("remote", "set-url", "origin", "https://host.example/x.git")
    remedies = "git theta remote accept.*\n.*git config lfs.url URL"
    with pytest.raises(StoreError, match=rf"stranger\.example.*(\n.*)*{remedies}"):
        LfsStoreType().open("lfs://origin")
    git("add", ".lfsconfig")
    (here / "here" / ".lfsconfig").unlink()
    with pytest.raises(StoreError, match=r"stranger\.example"):
        LfsStoreType().open("lfs://origin")
    git("config", "theta.accepted", "https://stranger.example/x")
    LfsStoreType().open("lfs://origin")


def test_a_tracked_file_may_name_the_host_of_the_remote(here: Path) -> None:
    (here / "here" / ".lfsconfig").write_text("[lfs]\n\turl = https://host.example/lfs\n")
    for remote in ("https://host.example/x.git", "git@host.example:x.git"):
        git("remote", "set-url", "origin", remote)
        LfsStoreType().open("lfs://origin")


def test_what_the_user_has_set_needs_no_acceptance(here: Path) -> None:
    (here / "here" / ".lfsconfig").write_text("[lfs]\n\turl = https://stranger.example/x\n")
    git("config", "lfs.url", f"file://{here}/remote.git")
    put("lfs://origin", here)
    assert list((here / "remote.git").rglob(PACK))
