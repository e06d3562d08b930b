"""What is imported while git still sends a long file, and that nothing goes wrong meanwhile."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from git_theta.errors import FileChangedError
from git_theta.git import meanwhile
from git_theta.git.caller import WRITERS
from git_theta.git.meanwhile import COMMANDS, drained
from git_theta.git.received import receive


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "m.bin"
    path.write_bytes(bytes(meanwhile.LONG))
    return path


@pytest.fixture
def taken(monkeypatch):
    """The modules that were imported, in order, by git add."""
    names: list[str] = []
    monkeypatch.setattr(meanwhile, "import_module", names.append)
    monkeypatch.setattr(meanwhile, "typed_command", lambda: "add")
    return names


def test_modules_are_imported_in_order_while_the_file_comes(file, taken, monkeypatch):
    asked = threading.Event()

    def take(name):
        taken.append(name)
        if len(taken) == 3:
            asked.set()

    def come():
        assert asked.wait(60)
        return receive(iter(()), str(file), lambda: file.parent)

    monkeypatch.setattr(meanwhile, "import_module", take)
    with drained(come, str(file), lambda: take("prepared")) as received:
        assert received.source.size == 0
    assert taken[:3] == ["prepared", *COMMANDS["add"]][:3]


def test_a_short_file_waits_for_no_import(tmp_path, taken):
    path = tmp_path / "m.bin"
    path.write_bytes(bytes(1000))
    stream = iter([memoryview(bytes(1000))])
    with drained(
        lambda: receive(stream, str(path), lambda: tmp_path),
        str(path),
        lambda: taken.append("prepared"),
    ) as received:
        assert received.source.size == 1000
    assert taken == []


def test_a_fault_of_the_stream_is_raised_and_threads_switch_as_before(file, taken):
    before = sys.getswitchinterval()

    def fail():
        raise FileChangedError("It changed")

    with pytest.raises(FileChangedError, match="It changed"):
        drained(fail, str(file), lambda: None)
    assert sys.getswitchinterval() == before


def test_a_fault_while_preparing_is_raised_when_the_stream_has_ended(file, taken):
    ended = threading.Event()

    def come():
        received = receive(iter(()), str(file), lambda: file.parent)
        ended.set()
        return received

    def prepare():
        raise OSError("no process can be started")

    with pytest.raises(OSError, match="no process"):
        drained(come, str(file), prepare)
    assert ended.is_set()


def test_an_interrupt_does_not_wait(file, taken):
    before, let_go, ended = sys.getswitchinterval(), threading.Event(), threading.Event()

    def come():
        let_go.wait(10)
        ended.set()

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drained(come, str(file), interrupt)
    assert not ended.is_set()
    assert sys.getswitchinterval() == before
    let_go.set()


def test_the_commands_have_their_names_from_git():
    assert set(COMMANDS) <= WRITERS  # so none of them is an alias


@pytest.mark.parametrize("command", ["add", "checkout"])
def test_all_that_plugins_are_asked_for_is_imported(command):
    script = """
import sys
import git_theta.plugins
from importlib import import_module
from git_theta.git.meanwhile import COMMANDS
for name in COMMANDS[sys.argv[1]]:
    import_module(name)
before = set(sys.modules)
git_theta.plugins.installed().find("theta_serializers", "raw")
git_theta.plugins.installed().find("theta_update_types", "dense")
print(*set(sys.modules) - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, command], capture_output=True, text=True, check=True
    )
    found = {name for name in done.stdout.split() if ".updates" in name or ".serializers" in name}
    assert {name.rpartition(".")[2] for name in found} == {"raw", "dense", "builtin"}


def test_the_modules_exist():
    for names in COMMANDS.values():
        for name in names:
            __import__(name)
