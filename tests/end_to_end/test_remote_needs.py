"""Which packs commits need."""

from __future__ import annotations

import pytest

from git_theta.errors import GitError, MissingPackError
from git_theta.git.repository import Repository
from git_theta.remotes.needs import fresh_hints, hinted_packs, needs_of, total


@pytest.fixture
def history(tracked, model, monkeypatch):
    """Two versions of a model, the second on a branch, and a file that git-theta does not store."""
    tracked.write("models/m.pt", model())
    tracked.write("notes.txt", b"git-theta stores the other one\n" * 10)
    tracked.commit("First")
    tracked.git("checkout", "--quiet", "-b", "tuned")
    tracked.write("models/m.pt", model(1))
    tracked.commit("Tuned")
    monkeypatch.chdir(tracked.path)
    return tracked


def test_commits_need_the_packs_that_their_metadata_names(history):
    with Repository() as repository:
        first = list(needs_of(repository, "main"))
        both = list(needs_of(repository, "--all"))
        new = list(needs_of(repository, "tuned", "--not", "main"))
    assert [need.path for need in first] == ["models/m.pt"]
    assert first[0].blob == history.git("rev-parse", "main:models/m.pt").strip()
    assert {need.blob for need in both} == {need.blob for need in first + new}
    assert total(both) == {name: file.stat().st_size for name, file in history.packs().items()}
    assert first[0].packs.keys() < new[0].packs.keys(), "what changed stands on what did not"


def test_nothing_is_needed_where_there_is_no_metadata(history):
    with Repository() as repository:
        assert list(needs_of(repository, "main~1")) == []
        assert list(needs_of(repository, "main", "--not", "main")) == []


def test_what_git_refuses_is_an_error(history):
    with Repository() as repository, pytest.raises(GitError, match="nowhere"):
        list(needs_of(repository, "nowhere"))


def test_a_walk_may_be_left_early(history):
    with Repository() as repository:
        assert next(iter(needs_of(repository, "--all"))).packs


def test_a_partial_clone_looks_only_at_what_it_has(history, tmp_path, monkeypatch):
    history.git("config", "uploadpack.allowFilter", "true")
    url = f"file://{history.path}"
    clone = ["clone", "--quiet", "--no-checkout", "--filter=blob:none", url, "clone"]
    history.git(*clone, cwd=tmp_path)
    monkeypatch.chdir(tmp_path / "clone")
    with Repository() as repository:
        assert list(needs_of(repository, "HEAD")) == []
        oid = history.git("rev-parse", "tuned:models/m.pt").strip()
        repository.blob(oid)
        assert [need.blob for need in needs_of(repository, "HEAD")] == [oid]


def test_fresh_hints_are_those_of_the_metadata_until_packs_move(history):
    with Repository() as repository:
        text = repository.blob(history.git("rev-parse", "tuned:models/m.pt").strip())
        fresh = fresh_hints(repository, text, "models/m.pt")
        assert {hint.pack: hint.nbytes for hint in fresh} == hinted_packs(text)
    history.git("theta", "repack")
    with Repository() as repository:
        fresh = fresh_hints(repository, text, "models/m.pt")
    moved = {hint.pack: hint.nbytes for hint in fresh}
    assert moved == {name: file.stat().st_size for name, file in history.packs().items()}
    assert moved.keys().isdisjoint(hinted_packs(text))
    assert {item for hint in fresh for item in hint.items} == set(range(7))


def test_fresh_hints_of_what_the_store_lacks_name_it(history):
    with Repository() as repository:
        text = repository.blob(history.git("rev-parse", "tuned:models/m.pt").strip())
    for pack in history.packs().values():
        pack.unlink()
    with Repository() as repository, pytest.raises(MissingPackError, match="the skeleton"):
        fresh_hints(repository, text, "models/m.pt")


def test_hints_are_read_without_the_rest_of_the_text():
    name = b"ab" * 32
    text = b"git-theta metadata 1\ngarbage\npack %s 12 0,3-7\npack %s x 1\n" % (name, b"cd" * 32)
    assert hinted_packs(text) == {name.decode(): 12}
