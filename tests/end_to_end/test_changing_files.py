"""Files that somebody writes to while they are added: an error, and nothing wrong is stored."""

from __future__ import annotations

import mmap
import os
import subprocess
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from git_theta import clean as clean_module
from git_theta.clean import Cleaning, clean
from git_theta.digests import digest
from git_theta.errors import FileChangedError, StoreError
from git_theta.git import answers
from git_theta.git import received as received_module
from git_theta.git.received import Received, Stamp, open_file, receive
from git_theta.git.repository import Repository
from git_theta.plugins import installed
from git_theta.source import BytesSource, FileSource
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
            clean(Cleaning(file, "m.pt", true, store=store, plugins=installed()))
        except FileChangedError:
            noticed += 1
        assert list(verify_packs(store, installed())) == []
    assert noticed


def chunks(data):
    view = memoryview(data)
    return (view[at : at + 65516] for at in range(0, len(view), 65516))


def test_what_cannot_be_kept_aside_leaves_no_file_open(tmp_path, monkeypatch):
    (tmp_path / "m.pt").write_bytes(bytes(IN_MEMORY * 2))

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(received_module, "_write", refuse)
    before = os.listdir("/proc/self/fd")
    for data in (os.urandom(IN_MEMORY * 2), bytes(IN_MEMORY) + os.urandom(IN_MEMORY)):
        with pytest.raises(StoreError, match=r"Cannot keep .*m\.pt aside"):
            receive(chunks(data), str(tmp_path / "m.pt"), lambda: tmp_path / "tmp")
    assert os.listdir("/proc/self/fd") == before


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
@pytest.mark.parametrize("begun", [False, True])
def test_a_file_that_is_written_to_after_it_was_read_is_refused(
    tmp_path, monkeypatch, begun, change
):
    monkeypatch.setenv("GIT_THETA_THREADS", "2")
    file = tmp_path / "m.pt"
    file.write_bytes(b"weights")
    with open_file(file) as received:
        for wrong in (False, True):
            if begun:
                received.begin_check()
                assert received._rereading.result()
            if wrong:
                file.write_bytes(change)
                with pytest.raises(FileChangedError, match=r"Run git add again"):
                    received.check_unchanged("m.pt")
            else:
                received.check_unchanged("m.pt")


def test_a_writer_who_puts_it_back_was_there_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_THETA_THREADS", "2")
    file = tmp_path / "m.pt"
    file.write_bytes(b"weights")
    with open_file(file) as received:
        monkeypatch.setattr(Stamp, "of", lambda fd, stamp=received._stamp: stamp)
        file.write_bytes(b"WEIGHTS")
        received.begin_check()
        assert received._rereading.result() is False
        file.write_bytes(b"weights")
        with pytest.raises(FileChangedError):
            received.check_unchanged("m.pt")


@pytest.mark.parametrize("how", ["again", "reads on", "begun again"])
def test_a_check_says_nothing_of_what_is_read_later(tmp_path, monkeypatch, how):
    """Nor does the inode, where somebody has a page mapped."""
    monkeypatch.setenv("GIT_THETA_THREADS", "2")
    file = tmp_path / "m.pt"
    file.write_bytes(b"weights")
    with open_file(file) as received, file.open("r+b") as out, mmap.mmap(out.fileno(), 7) as page:
        monkeypatch.setattr(Stamp, "of", lambda fd, stamp=received._stamp: stamp)
        received.begin_check()
        assert received._rereading.result()
        if how == "again":
            received.check_unchanged("m.pt")
        page[:] = b"WEIGHTS"
        if how == "reads on":
            received.reads_on()
        if how == "begun again":
            received.begin_check()
        with pytest.raises(FileChangedError):
            received.check_unchanged("m.pt")


def test_nothing_is_read_of_a_file_that_is_closed(tmp_path, monkeypatch):
    """Not even what is left of it: who interrupts an add waits for a block at most."""
    monkeypatch.setenv("GIT_THETA_THREADS", "2")
    file = tmp_path / "m.pt"
    file.write_bytes(bytes(5 * IN_MEMORY))
    read, going, wait = [], threading.Event(), threading.Event()
    real = FileSource._read

    def slowly(source, offset, nbytes):
        read.append(nbytes)
        going.set()
        wait.wait()
        return real(source, offset, nbytes)

    with open_file(file) as received:
        monkeypatch.setattr(FileSource, "_read", slowly)
        received.begin_check()
        thread = received._rereading._thread
        going.wait()
        received._rereading._stopped.set()
        wait.set()
    assert not thread.is_alive()
    assert len(read) == 1


def test_one_thread_is_one_thread(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_THETA_THREADS", "1")
    file = tmp_path / "m.pt"
    file.write_bytes(b"weights")
    with open_file(file) as received:
        received.begin_check()
        assert received._rereading is None
        received.check_unchanged("m.pt")


def test_no_thread_can_be_had(tmp_path, monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setenv("GIT_THETA_THREADS", "2")
    monkeypatch.setattr(threading.Thread, "start", refuse)
    file = tmp_path / "m.pt"
    file.write_bytes(b"weights")
    with open_file(file) as received:
        received.begin_check()
        received.check_unchanged("m.pt")


def test_what_cannot_be_read_in_a_thread_is_told_where_it_can_be(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setenv("GIT_THETA_THREADS", "2")
    file = tmp_path / "m.pt"
    file.write_bytes(b"weights")
    with open_file(file) as received:
        monkeypatch.setattr(FileSource, "_read", fail)
        received.begin_check()
        with pytest.raises(OSError, match="Input/output error"):
            received.check_unchanged("m.pt")


def test_a_file_that_is_read_as_unknown_after_all_is_checked_after_that(tmp_path, monkeypatch):
    """Its metadata turned out too long, once its groups were stored."""
    monkeypatch.setenv("GIT_THETA_THREADS", "2")
    monkeypatch.setattr(clean_module, "MAX_BYTES", 400)
    found = []
    for name in ("begin_check", "reads_on"):
        real = getattr(Received, name)
        monkeypatch.setattr(
            Received, name, lambda *args, real=real, name=name: found.append(name) or real(*args)
        )
    repo = tmp_path / "repo"
    subprocess.run(["git", "init", "-q", repo], check=True)
    monkeypatch.chdir(repo)
    save_file({f"layer.{n}": np.full(5, n, "f4") for n in range(20)}, "m.safetensors")
    with closing(Repository()) as repository, open_file("m.safetensors") as received:
        text = answers.clean_received(repository, "m.safetensors", received)
        assert received._rereading is None
    assert b"format unknown" in text
    begin, on = "begin_check", "reads_on"  # what begins forgets what was begun; so does the end
    assert found == [begin, on, on, begin, on, on]


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
