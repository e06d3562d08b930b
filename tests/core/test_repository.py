"""What git answers a process that asks for objects, and that it may end while it is asked."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from git_theta.errors import GitError
from git_theta.git.repository import Repository


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a commit, the current folder."""
    made = tmp_path / "here"
    subprocess.run(["git", "init", "--quiet", str(made)], check=True)
    monkeypatch.chdir(made)
    (made / "file").write_bytes(b"content")
    subprocess.run(["git", "add", "file"], check=True)
    subprocess.run(["git", "commit", "--quiet", "--message", "One"], check=True)
    return made


@pytest.fixture
def ending_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A git on PATH whose ``cat-file`` ends at once."""
    git = tmp_path / "bin" / "git"
    git.parent.mkdir()
    git.write_text('#!/bin/sh\nif [ "$1" = cat-file ]; then exit 3; fi\nexec /usr/bin/false\n')
    git.chmod(0o755)
    monkeypatch.setenv("PATH", f"{git.parent}{os.pathsep}{os.environ['PATH']}")


def test_what_is_missing_is_told_apart_from_what_is_there(folder: Path) -> None:
    with Repository() as repository:
        found, missing = repository.objects(["HEAD:file", "HEAD:nothing"])
        assert found
        assert (found[1:], missing) == (("blob", 7), None)
        assert repository.blob(found[0]) == b"content"


def test_what_is_no_blob_leaves_the_next_answer_whole(folder: Path) -> None:
    with Repository() as repository:
        found, tree = repository.objects(["HEAD:file", "HEAD^{tree}"])
        assert found
        assert tree
        with pytest.raises(GitError, match=r"Expected a blob \w+, found tree"):
            repository.blob(tree[0])
        with pytest.raises(GitError, match="Expected a blob 00, found none"):
            repository.blob("00")
        assert repository.blob(found[0]) == b"content"


@pytest.mark.parametrize("question", [lambda r: r.objects(["HEAD"]), lambda r: r.blob("HEAD:file")])
def test_a_git_that_ended_has_not_said_that_nothing_is_there(
    folder: Path, ending_git: None, question: object
) -> None:
    assert callable(question)
    with Repository() as repository:
        for _ in range(2):
            with pytest.raises(GitError, match=r"git cat-file --batch\S* ended with code 3"):
                question(repository)
