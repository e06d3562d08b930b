"""Files that somebody writes to while they are added: an error, and nothing wrong is stored."""

from __future__ import annotations

import os
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from git_theta.clean import clean
from git_theta.digests import digest
from git_theta.errors import FileChangedError
from git_theta.git import answers
from git_theta.git import received as received_module
from git_theta.git.received import Received, open_file, receive
from git_theta.git.repository import Repository
from git_theta.plugins import installed
from git_theta.source import BytesSource
from git_theta.storage.local import LocalStore
from git_theta.storage.verify import verify_packs

IN_MEMORY = 8 * 2**20


@pytest.fixture(autouse=True)
def little_memory(monkeypatch):
    """So that files need not be long to be longer than what is kept in memory."""
    monkeypatch.setattr(received_module, "IN_MEMORY", IN_MEMORY)


class Changing(BytesSource):
    """Bytes of which one changes when they have been read a number of times."""

    def __init__(self, data, reads, at):
        self._bytes = bytearray(data)
        super().__init__(self._bytes)
        self._left, self._at = reads, at

    def _read(self, offset, nbytes):
        self._left -= 1
        if self._left == 0:
            self._bytes[self._at] ^= 1
        return bytes(super()._read(offset, nbytes))


@pytest.fixture
def store(tmp_path):
    with LocalStore(tmp_path / "theta") as opened:
        yield opened


@pytest.mark.parametrize("where", [5000, -5000])
def test_a_change_between_two_reads_is_noticed_or_does_no_harm(store, model, where):
    data = model(1)
    true = digest(BytesSource(data))
    noticed = 0
    for reads in range(1, 30):
        file = Changing(data, reads, where)
        try:
            clean(file, "m.pt", true, store=store, plugins=installed())
        except FileChangedError:
            noticed += 1
        assert list(verify_packs(store, installed())) == []
    assert noticed


def chunks(data):
    view = memoryview(data)
    return (view[at : at + 65516] for at in range(0, len(view), 65516))


def test_a_file_that_becomes_shorter_while_it_streams_is_refused(tmp_path):
    data = os.urandom(IN_MEMORY * 2)
    file = tmp_path / "m.pt"
    file.write_bytes(data)

    def stream():
        for number, chunk in enumerate(chunks(data)):
            if number == 200:
                file.write_bytes(b"shorter now")
            yield chunk

    with pytest.raises(FileChangedError, match=r"Run git add again"):
        receive(stream(), str(file), lambda: tmp_path / "tmp")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_file_is_compared_with_what_streams_once(tmp_path, monkeypatch):
    data = os.urandom(IN_MEMORY * 2)
    file = tmp_path / "m.pt"
    file.write_bytes(data)
    found = []
    readv = os.readv
    monkeypatch.setattr(os, "readv", lambda *args: found.append(readv(*args)) or found[-1])
    with receive(chunks(data), str(file), lambda: tmp_path / "tmp") as received:
        assert received.digest == digest(BytesSource(data))
    assert sum(found) == len(data)
    assert list(tmp_path.iterdir()) == [file]


def test_what_is_kept_in_memory_needs_no_file(tmp_path):
    data = os.urandom(IN_MEMORY)
    with receive(chunks(data), str(tmp_path / "nowhere.pt"), lambda: tmp_path / "tmp") as received:
        assert received.source.read(0, len(data)) == data
        assert received.digest == digest(BytesSource(data))
        received.check_unchanged("m.pt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", ["nothing", "another file", "a folder", "the beginning"])
def test_what_streams_is_stored_whatever_lies_at_its_path(tmp_path, there):
    data = os.urandom(IN_MEMORY * 2 + 5)
    file = tmp_path / "m.pt"
    if there == "a folder":
        file.mkdir()
    elif there != "nothing":
        file.write_bytes(data[: IN_MEMORY + 7] if there == "the beginning" else b"another")
    with receive(chunks(data), str(file), lambda: tmp_path / "tmp") as received:
        assert received.source.size == len(data)
        assert b"".join(received.source.blocks()) == data
        assert received.digest == digest(BytesSource(data))
        received.check_unchanged("m.pt")


def test_a_file_that_changes_behind_the_stream_is_refused(tmp_path):
    data = bytearray(os.urandom(IN_MEMORY * 2))
    file = tmp_path / "m.pt"
    file.write_bytes(data)

    def stream():
        for number, chunk in enumerate(chunks(data)):
            if number == 200:  # what was compared already is what changes
                with file.open("r+b") as out:
                    out.write(b"other")
            yield chunk

    with (
        receive(stream(), str(file), lambda: tmp_path / "tmp") as received,
        pytest.raises(FileChangedError),
    ):
        received.check_unchanged("m.pt")


@pytest.mark.parametrize("change", [b"other", b""])
def test_a_file_that_is_written_to_after_it_was_read_is_refused(tmp_path, change):
    file = tmp_path / "m.pt"
    file.write_bytes(b"weights")
    with open_file(file) as received:
        received.check_unchanged("m.pt")
        file.write_bytes(change)
        with pytest.raises(FileChangedError, match=r"Run git add again"):
            received.check_unchanged("m.pt")


@pytest.mark.parametrize("when", ["before", "after", "never"])
def test_what_is_read_once_more_beside_other_work(tmp_path, monkeypatch, when):
    monkeypatch.setenv("GIT_THETA_THREADS", "2")
    file = tmp_path / "m.pt"
    file.write_bytes(b"weights")
    with open_file(file) as received:
        if when == "before":
            file.write_bytes(b"WEIGHTS")
        received.begin_check()
        received._checking.join()
        assert received._unchanged is (when != "before")
        if when == "after":
            file.write_bytes(b"WEIGHTS")
        if when == "never":
            received.check_unchanged("m.pt")
        else:
            with pytest.raises(FileChangedError, match=r"Run git add again"):
                received.check_unchanged("m.pt")


def test_nothing_is_read_of_a_file_that_is_closed(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_THETA_THREADS", "2")
    file = tmp_path / "m.pt"
    file.write_bytes(bytes(2 * IN_MEMORY))
    with open_file(file) as received:
        received.begin_check()
    assert not received._checking.is_alive()


def test_an_add_reads_again_what_it_stores_once(tmp_path, monkeypatch):
    """In a thread where something was stored; else when all is done."""
    found = []
    for name in ("begin_check", "check_unchanged"):
        real = getattr(Received, name)
        monkeypatch.setattr(
            Received, name, lambda *args, real=real, name=name: found.append(name) or real(*args)
        )
    repo = tmp_path / "repo"
    subprocess.run(["git", "init", "-q", repo], check=True)
    monkeypatch.chdir(repo)
    Path("m.bin").write_bytes(os.urandom(2 * IN_MEMORY))
    for expected in (["begin_check", "check_unchanged"], ["check_unchanged"]):
        with closing(Repository()) as repository, open_file("m.bin") as received:
            answers.clean_received(repository, "m.bin", received)
        assert found == expected
        found.clear()
