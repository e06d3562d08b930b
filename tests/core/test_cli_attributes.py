"""Attributes files as text, and arguments as patterns: git's own reading is the oracle."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from git_theta.errors import AttributesError, GitError
from git_theta.git import attributes, patterns, run

NAMES = (
    st.binary(min_size=1, max_size=40)
    .map(lambda raw: os.fsdecode(raw.replace(b"\0", b"0").replace(b"/", b"_")))
    .filter(lambda name: name not in {".", ".."} and not name.lower().startswith(".git"))
)
"""File names of any bytes."""

SPECIAL = st.text(st.sampled_from('ab !#"\\*?[]^-\t\n\x7f\x01é'), min_size=1, max_size=12)
"""Names and patterns full of what is special to git."""

AS_GIT = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def repository(repo):
    return repo.path


def filters(repository: Path, content: str, *paths: str) -> list[str]:
    """The filter that git finds for each path, given an attributes file."""
    (repository / ".gitattributes").write_bytes(os.fsencode(content))
    asked = os.fsencode("".join(f"{path}\0" for path in paths))
    answer = run.run("check-attr", "-z", "--stdin", "filter", input=asked, cwd=repository)
    return os.fsdecode(answer).split("\0")[2::3]


@AS_GIT
@given(name=NAMES | SPECIAL)
def test_the_line_for_a_file_name_matches_that_file_and_no_other(repository, name):
    pattern = patterns.from_argument(name, folder=repository, top=repository, literal=True)
    line = attributes.append("", attributes.tracked_line(pattern))
    near = [f"{name}x", f"x{name}", f"deep/{name}"]
    assert filters(repository, line, name, *near) == ["theta"] + ["unspecified"] * 3


@AS_GIT
@given(pattern=SPECIAL)
def test_a_pattern_reads_back_as_it_was_written_by_us_and_by_git(repository, pattern):
    line = attributes.append("", attributes.tracked_line(pattern))
    rules = list(attributes.parse(line))
    if pattern.startswith("!"):
        assert rules == []
        return
    assert [(rule.pattern, rule.attributes) for rule in rules] == [
        (pattern, ("filter=theta", "-text"))
    ]
    sample = patterns.sample(pattern)
    if sample and "\\" not in pattern:
        assert filters(repository, line, sample) == ["theta"]


LINES = st.lists(
    st.tuples(
        SPECIAL | st.sampled_from(["*.pt", "*.md"]), st.sampled_from(["text", "-diff", "a=b"])
    ).map(lambda rule: f"{attributes.quote(rule[0])} {rule[1]}")
    | st.sampled_from(["# a comment", "", '"open', "[attr]m -text"])
)


@given(lines=LINES, pattern=SPECIAL, ending=st.sampled_from(["\n", "\r\n"]))
def test_removing_undoes_appending(lines, pattern, ending):
    before = "".join(line + ending for line in lines)
    after = attributes.append(before, attributes.tracked_line(pattern))
    assert after.startswith(before)
    if not pattern.startswith("[attr]"):
        assert attributes.remove(after, pattern) == before


@given(content=st.text())
def test_any_text_can_be_parsed_and_is_left_alone_without_our_attributes(content):
    list(attributes.parse(content))
    if "filter=theta" not in content:
        assert attributes.remove(content, "*.pt") == content
        assert attributes.complete(content, "*.pt") == content


@AS_GIT
@given(pattern=SPECIAL, prefix=st.sampled_from(["sub/", "s[1]/*/", "!a b/"]), slash=st.booleans())
def test_a_pattern_of_a_subfolder_means_the_same_said_from_the_root(
    repository, pattern, prefix, slash
):
    pattern = f"/{pattern}" if slash else pattern
    if pattern.startswith(("!", "/!")):
        return
    paths = [prefix + name for name in ("a", "b", "ab", "a b", "c/a", "c/ab", "é")]
    folder = repository / prefix
    folder.mkdir(parents=True, exist_ok=True)
    line = attributes.append("", attributes.tracked_line(pattern))
    (folder / ".gitattributes").write_bytes(os.fsencode(line))
    inside = filters(repository, "", *paths)
    (folder / ".gitattributes").unlink()
    rooted = attributes.tracked_line(patterns.from_top(pattern, prefix))
    assert filters(repository, rooted + "\n", *paths) == inside


def test_macros_and_the_last_word_decide_on_an_attribute():
    known = {"model": ("filter=theta", "inner"), "inner": ("-text", "model")}
    assert attributes.state(["model"], "filter", known) == "theta"
    assert attributes.state(["text", "model"], "text", known) == "unset"
    assert attributes.state(["model", "text"], "text", known) == "set"
    assert attributes.state(["model", "!filter"], "filter", known) == "unspecified"
    assert attributes.state(["-model"], "filter", known) == ""


def test_an_overlong_line_is_ignored_as_git_ignores_it(repository):
    line = f"a.pt {'x' * 2050} filter=theta\nb.pt filter=theta\n"
    assert [rule.pattern for rule in attributes.parse(line)] == ["b.pt"]
    assert filters(repository, line, "a.pt", "b.pt") == ["unspecified", "theta"]


def test_a_leading_slash_is_git_s_way_to_say_this_folder_only(tmp_path):
    for argument in ("/model.pt", "/*.pt", "/models/*.pt"):
        assert patterns.from_argument(argument, folder=tmp_path, top=tmp_path) == argument.replace(
            "/models", "models"
        )


def test_a_path_that_exists_at_the_root_of_the_disk_is_outside(tmp_path):
    with pytest.raises(AttributesError, match="outside the work tree"):
        patterns.from_argument("/etc/*.pt", folder=tmp_path, top=tmp_path)


def test_git_s_refusal_is_an_error_with_its_words(repository):
    with pytest.raises(GitError, match=r"cat-file blob nothing failed with exit code 128: Not a"):
        run.run("cat-file", "blob", "nothing", cwd=repository)


def test_an_exit_code_that_is_an_answer_is_no_error(repository):
    assert run.text("config", "no.such", cwd=repository, ok=(0, 1)) == ""


def test_a_folder_that_is_missing_is_told_from_git_that_is_missing(tmp_path, monkeypatch):
    with pytest.raises(GitError, match="Expected a folder"):
        run.run("version", cwd=tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError, match="Expected git on PATH"):
        run.run("version")


def test_git_gets_and_gives_bytes_as_they_are(repository):
    raw = b"a\r\n\xff\0"
    name = run.text("hash-object", "-w", "--stdin", input=raw, cwd=repository)
    assert run.run("cat-file", "blob", name, cwd=repository) == raw
