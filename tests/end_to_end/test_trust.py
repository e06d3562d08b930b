"""What git-theta believes without looking again, and what it must not: metadata and its sources."""

from __future__ import annotations

import mmap
import os
import re
import tracemalloc

import pytest

from git_theta.errors import ConflictError, FileChangedError, MetadataError
from git_theta.git import answers as git_answers
from git_theta.git import caller
from git_theta.git.answers import clean_received
from git_theta.git.delayed import Delayed
from git_theta.git.received import open_file, receive
from git_theta.git.repository import Repository
from git_theta.metadata import normalize, parse


@pytest.fixture
def started(tracked, model):
    """A committed model."""
    tracked.write("m.pt", model())
    tracked.commit("First")
    return tracked


def stage(desk, text):
    """Put text into the index as it is."""
    (desk.path / "text").write_bytes(text)
    oid = desk.git("hash-object", "-w", "--no-filters", "text").strip()
    (desk.path / "text").unlink()
    desk.git("update-index", "--cacheinfo", f"100644,{oid},m.pt")


def mixed(text):
    """Metadata whose ``file`` line is right and whose first two groups have changed places."""
    digests = re.findall(rb"^group .* ([0-9a-f]{64})$", text, re.MULTILINE)[:2]
    return text.replace(digests[0], b"x").replace(digests[1], digests[0]).replace(b"x", digests[1])


def good(desk, name="HEAD:m.pt"):
    return desk.git("show", name).encode()


@pytest.mark.parametrize("streamed", [False, True])
def test_a_write_through_a_mapping_is_noticed(tmp_path, monkeypatch, tracked, model, streamed):
    data = model(rows=8000)
    file = tracked.write("m.pt", data)
    monkeypatch.chdir(tracked.path)
    monkeypatch.setattr("git_theta.git.received.IN_MEMORY", 2**20)  # what is held cannot change
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as mapped:
        mapped[-1] ^= 1  # the page is writable from now on: what follows leaves no trace in time
        if streamed:
            held = file.read_bytes()
            stream = (memoryview(held)[at : at + 60000] for at in range(0, len(held), 60000))
            received = receive(stream, "m.pt", lambda: tmp_path / "tmp")
        else:
            received = open_file(file)
        with received, Repository() as repository:
            before = os.stat(file).st_mtime_ns
            mapped[-1] ^= 1
            assert os.stat(file).st_mtime_ns == before
            with pytest.raises(FileChangedError, match=r"Run git add again"):
                clean_received(repository, "m.pt", received)


def test_a_file_that_shrank_after_it_was_read_changed(tmp_path, monkeypatch):
    file = tmp_path / "m.pt"
    file.write_bytes(b"weights")
    with open_file(file) as received:
        file.write_bytes(b"")
        monkeypatch.setattr("git_theta.git.received.Stamp.of", lambda _: received._stamp)
        with pytest.raises(FileChangedError):
            received.check_unchanged("m.pt")


def test_an_applied_diff_that_status_has_seen_is_stored(started, model, tmp_path):
    started.write("m.pt", model(1, rows=65))
    (tmp_path / "patch").write_text(started.git("diff"))
    started.git("apply", "--cached", str(tmp_path / "patch"))
    assert started.git("status", "--porcelain") == "M  m.pt\n"
    started.git("commit", "--quiet", "--message", "Applied")
    assert started.theta("fsck").returncode == 0
    assert started.clone("clone").read("m.pt") == model(1, rows=65)


def test_a_reader_stores_nothing_of_what_a_commit_has_already(started):
    for pack in started.packs().values():
        pack.unlink()
    assert started.status() == ""
    started.git("diff")
    assert started.packs() == {}


@pytest.mark.parametrize("style", ["merge", "diff3"])
def test_two_models_that_were_added_at_one_path_are_a_conflict(started, model, style):
    started.git("checkout", "--quiet", "-b", "theirs")
    started.write("n.pt", model(3))
    started.commit("Theirs")
    started.git("checkout", "--quiet", "main")
    started.write("n.pt", model(1))
    started.commit("Ours")
    assert started.run("git", "-c", f"merge.conflictStyle={style}", "merge", "theirs").returncode
    text = started.read("n.pt")
    assert b"<<<<<<< HEAD\n" in text
    packs = started.packs()
    for command in (["add", "n.pt"], ["theta", "add", "n.pt"], ["commit", "--all", "-m", "no"]):
        said = started.refused("git", *command)
        assert "git checkout --ours -- n.pt (or --theirs), then git add -- n.pt" in said
    assert (started.read("n.pt"), started.packs()) == (text, packs)


@pytest.mark.parametrize(
    "start",
    [
        b"<<<<<<< HEAD\n",
        b"<<<<<<< HEAD\r\n",
        b"<<<<<<<<<< a branch of two words\n",
        b"<<<<<<< HEAD\n||||||| 1234567\n",
        b"<<<<<<< HEAD\n||||||| base\n=======\n",
        b"<<<<<<< HEAD\n=======\n",
    ],
)
def test_conflicts_are_refused_by_add_and_passed_by_checkout(started, start):
    text = start + good(started) + b"=======\n" + good(started) + b">>>>>>> theirs\n"
    started.write("m.pt", text)
    assert "metadata of two versions in conflict" in started.refused("git", "add", "m.pt")
    stage(started, text)
    (started.path / "m.pt").unlink()
    started.git("checkout", "--", "m.pt")
    assert started.read("m.pt") == text


@pytest.mark.parametrize("where", ["index", "commit"])
def test_adding_the_right_file_heals_mixed_metadata(started, model, where):
    right = good(started)
    stage(started, mixed(right))
    if where == "commit":
        started.git("commit", "--quiet", "--message", "Mixed")
        assert started.status() == " M m.pt\n"
    started.git("add", "--renormalize", "m.pt")
    assert good(started, ":m.pt") == right
    started.run("git", "commit", "--quiet", "--message", "Healed")
    assert started.status() == ""
    assert started.clone("clone").read("m.pt") == model()


def test_theta_add_heals_a_merge_that_mixed_lines(started, model):
    started.git("checkout", "--quiet", "-b", "theirs")
    started.write("m.pt", model(4))
    started.commit("Theirs")
    started.git("checkout", "--quiet", "main")
    started.write("m.pt", model(1))
    started.commit("Ours")
    started.git("merge", "-X", "theirs", "--no-edit", "theirs", GIT_THETA_SKIP_SMUDGE="1")
    assert started.theta("fsck").returncode == 30
    started.write("m.pt", model(4))
    started.git("theta", "add", "m.pt")
    assert good(started, ":m.pt") == good(started, "theirs:m.pt")
    started.git("commit", "--quiet", "--message", "Healed")
    assert (started.status(), started.clone("clone").read("m.pt")) == ("", model(4))


def test_fsck_finds_metadata_that_makes_another_file(started):
    stage(started, mixed(good(started)))
    started.git("commit", "--quiet", "--message", "Mixed")
    checked = started.theta("fsck")
    assert checked.returncode == 30
    assert "is not the file that its metadata describes" in checked.stdout


@pytest.fixture
def contents(monkeypatch):
    """Counts how often a file is rebuilt to prove its metadata."""
    from git_theta import smudge

    counted = []
    real = smudge.content

    def content(rebuilt, *args):
        counted.append(rebuilt.path)
        return real(rebuilt, *args)

    monkeypatch.setattr(smudge, "content", content)
    return counted


def cleaned(name, *, reads=False):
    with Repository() as repository, open_file(name) as received:
        return clean_received(repository, name, received, only_reads=lambda: reads)


@pytest.mark.parametrize("reads", [False, True])
def test_what_was_added_or_checked_out_is_not_proven_again(started, monkeypatch, contents, reads):
    clone = started.clone("clone")
    for desk in (started, clone):
        monkeypatch.chdir(desk.path)
        assert cleaned("m.pt", reads=reads) == good(started)
        assert contents == []


@pytest.mark.parametrize("cache", [None, b"", b"torn"])
def test_without_the_cache_a_version_is_proven_once(started, monkeypatch, contents, cache):
    proven = started.store / "proven"
    proven.unlink()
    if cache is not None:
        proven.write_bytes(cache)
    monkeypatch.chdir(started.path)
    for _ in range(3):
        assert cleaned("m.pt", reads=True) == good(started)
    assert contents == ["m.pt"]
    assert proven.stat().st_size == 32


def test_a_cache_that_cannot_be_written_is_done_without(started):
    proven = started.store / "proven"
    proven.unlink()
    proven.mkdir()
    assert started.status() == ""
    (started.path / "m.pt").unlink()
    started.git("checkout", "--", "m.pt")
    assert started.status() == ""


def test_metadata_with_an_endless_range_is_not_expanded(started):
    right = good(started)
    for end in (b"99999999999", b"9" * 18):
        stage(started, right.replace(b" 0-6\n", b" 0-" + end + b"\n"))
        assert started.status() == "MM m.pt\n"
        for pack in started.packs().values():
            pack.rename(pack.with_suffix(".away"))
        assert started.git("status", "--porcelain") == "MM m.pt\n"
        for pack in (started.store / "objects").glob("*.away"):
            pack.rename(pack.with_suffix(""))
    started.git("add", "--renormalize", "m.pt")
    assert good(started, ":m.pt") == right


@pytest.mark.parametrize("nbytes", [0, 1, 70_000, 20_000_000])
@pytest.mark.parametrize("process", [True, False])
def test_a_file_from_before_it_was_tracked_passes_through(started, nbytes, process):
    data = os.urandom(nbytes)
    if not process:
        started.git("config", "--global", "--unset", "filter.theta.process")
    stage(started, data)
    (started.path / "m.pt").unlink()
    started.git("checkout", "--", "m.pt")
    assert started.read("m.pt") == data
    left = started.store / "tmp"
    assert not left.exists() or list(left.iterdir()) == []


@pytest.fixture
def smudged(started, monkeypatch):
    """Smudges a stream of packets in this process."""
    monkeypatch.chdir(started.path)

    def smudge(packets, **options):
        with Repository() as repository:
            options = {"skip": False} | options
            request = {"command": "smudge", "pathname": "m.pt"}
            yield from git_answers._smudge(
                repository, Delayed(repository), request, packets, **options
            )

    return smudge


def test_a_long_file_that_passes_through_is_not_held_in_memory(smudged):
    packet = memoryview(os.urandom(65516))
    tracemalloc.start()
    try:
        passed = sum(len(data) for data in smudged(packet for _ in range(1000)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert passed == 1000 * 65516
    assert peak < 30_000_000


def test_metadata_without_end_is_refused_before_it_is_all_held(smudged, monkeypatch):
    monkeypatch.setattr(git_answers, "MAX_BYTES", 500_000)
    taken = []

    def packets():
        yield memoryview(b"git-theta metadata 1\n")
        for number in range(1000):
            taken.append(number)
            yield memoryview(bytes(65516))

    with pytest.raises(MetadataError, match="at most 500000 bytes"):
        list(smudged(packets()))
    assert len(taken) < 20


def test_remedies_can_be_pasted_whatever_the_path():
    with pytest.raises(ConflictError) as caught:
        normalize(b"git-theta metadata 1\n<<<<<<< HEAD\n", "it's $(here).pt")
    quoted = "'it'\"'\"'s $(here).pt'"
    assert f"--ours -- {quoted} (or --theirs), then git add -- {quoted}" in caught.value.remedy


def test_without_proc_every_caller_writes(tmp_path, monkeypatch):
    program = tmp_path / "ps"
    program.write_text("#!/bin/sh\necho 1 git -c user.name=John diff commit\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(caller, "_PROC", tmp_path / "proc")
    assert not caller.only_reads()


def test_lines_are_counted_before_they_are_taken_apart(started):
    head = b"".join(good(started).splitlines(keepends=True)[:4])
    text = head + bytes(20_000_000).replace(b"\0", b"\n")
    tracemalloc.start()
    try:
        with pytest.raises(MetadataError, match="of more than 524288 lines"):
            parse(text)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
