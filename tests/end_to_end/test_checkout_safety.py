"""git theta checkout among hostile trees, busy files and killed processes; nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import sys
from types import SimpleNamespace

import pytest

from git_theta.cli.main import main

OLD = 1_600_000_000
"""A second that is long over."""


@pytest.fixture
def inside(tracked, monkeypatch):
    """Runs git theta in this process, so that a test can meddle halfway; gives the exit code."""
    monkeypatch.chdir(tracked.path)
    monkeypatch.setenv("PATH", tracked.env["PATH"])
    return lambda *args: main(list(args))


def _plant(desk, path, oid):
    """A tree that has metadata at a path that git itself would never add, and tracks it."""
    *folders, name = path.split("/")
    listed = f"100644 blob {oid}\t{name}\n"
    for folder in reversed(folders):
        tree = _made(desk, "mktree", listed)
        listed = f"040000 tree {tree}\t{folder}\n"
    everything = _made(desk, "hash-object", "* filter=theta -text\n", "-w", "--stdin")
    return _made(desk, "mktree", f"100644 blob {everything}\t.gitattributes\n{listed}")


def _made(desk, command, text, *options):
    line = f"printf '%s' \"$TEXT\" | git {command} {' '.join(options)}"
    done = desk.run("sh", "-c", line, TEXT=text)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("protect", ["true", "false"])
@pytest.mark.parametrize(
    "path", [".git/commondir", ".GIT/commondir", "sub/.git/config", "../out", "./out", "git~1/x"]
)
def test_a_hostile_tree_writes_nothing_outside_of_the_work_tree(tracked, model, path, protect):
    tracked.write("m.pt", model())
    tracked.commit("Model")
    tracked.write(".gitattributes", b"* filter=theta -text\n")
    oid = tracked.git("rev-parse", ":m.pt").strip()
    tracked.git("config", "core.protectNTFS", protect)
    tracked.git("config", "core.protectHFS", protect)
    tree = _plant(tracked, path, oid)
    before = {file for file in tracked.path.parent.rglob("*") if "objects" not in file.parts}
    said = tracked.refused("git", "theta", "checkout", "--force", "--source", tree)
    assert path.split("/")[0] in said
    assert "Traceback" not in said
    after = {file for file in tracked.path.parent.rglob("*") if "objects" not in file.parts}
    assert {file for file in after - before if "theta" not in file.parts} == set()
    assert tracked.theta("ls-files").returncode == 0


def test_a_file_that_changes_while_others_are_written_is_seen_as_changed(
    tracked, inside, model, monkeypatch
):
    from git_theta.cli import checkout as module

    for number in range(2):
        os.utime(tracked.write(f"{number}.pt", model(number)), (OLD, OLD))
    tracked.commit("Two")
    (tracked.path / "0.pt").unlink()
    real = module.content

    def content(*args):
        os.utime(tracked.write("1.pt", model(2)), (OLD + 60, OLD + 60))
        yield from real(*args)

    monkeypatch.setattr(module, "content", content)
    assert inside("checkout") == 0
    assert tracked.git("status", "--porcelain") == " M 1.pt\n"
    assert (tracked.read("0.pt"), tracked.read("1.pt")) == (model(), model(2))


def test_a_file_that_changes_while_it_is_compared_is_not_taken_for_the_same(
    tracked, inside, model, monkeypatch
):
    from git_theta.cli import checkout as module

    os.utime(tracked.write("m.pt", model()), (OLD, OLD))
    tracked.commit("Model")
    real = module.open_file

    def open_file(path):
        received = real(path)
        tracked.write("m.pt", model(1))
        return received

    monkeypatch.setattr(module, "open_file", open_file)
    assert inside("checkout") == 34
    assert tracked.git("status", "--porcelain") == " M m.pt\n"


@pytest.mark.parametrize(("options", "code"), [([], 34), (["--force"], 0)])
@pytest.mark.parametrize("lies", [True, False])
def test_what_somebody_writes_meanwhile_is_not_overwritten_without_force(
    tracked, inside, model, monkeypatch, capsys, options, code, lies
):
    from git_theta.cli import checkout as module

    tracked.write("m.pt", model())
    tracked.commit("First")
    tracked.write("m.pt", model(1))
    tracked.commit("Second")
    if not lies:
        (tracked.path / "m.pt").unlink()
    real = module.content

    def content(*args):
        tracked.write("m.pt", b"precious")
        yield from real(*args)

    monkeypatch.setattr(module, "content", content)
    assert inside("checkout", "--source", "HEAD~1", *options) == code
    assert tracked.read("m.pt") == (b"precious" if code else model())
    assert ("m.pt was written to" in capsys.readouterr().err) == bool(code)
    assert tracked.git("status", "--porcelain") == " M m.pt\n"


def test_a_file_changed_right_after_it_was_written_is_seen_as_changed(
    tracked, inside, model, monkeypatch
):
    tracked.write("m.pt", model())
    tracked.commit("Model")
    (tracked.path / "m.pt").unlink()
    real = os.replace

    def replace(source, target):
        real(source, target)
        if str(target).endswith("m.pt"):
            tracked.write("m.pt", model(1))
            os.utime(target, (OLD, OLD))

    monkeypatch.setattr(os, "replace", replace)
    assert inside("checkout") == 0
    monkeypatch.undo()
    assert tracked.git("status", "--porcelain") == " M m.pt\n"


def test_a_file_changed_while_the_second_passes_is_seen_as_changed(
    tracked, inside, model, monkeypatch
):
    from git_theta.cli import add as module

    os.utime(tracked.write("m.pt", model()), (OLD, OLD))
    tracked.commit("Model")
    os.utime(tracked.path / "m.pt", (OLD + 60, OLD + 60))  # other than the index knows it
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        os.utime(tracked.write("m.pt", model(1)), (OLD + 60.6, OLD + 60.6))

    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: OLD + 60.5, sleep=sleep))
    monkeypatch.setattr(module, "SETTLE", 1)
    assert inside("checkout") == 0
    assert len(waits) == 1
    assert waits[0] <= 1
    assert tracked.git("status", "--porcelain") == " M m.pt\n"


def test_a_file_from_the_future_is_not_waited_for(tracked, inside, model, monkeypatch):
    from git_theta.cli import add as module

    future = 4_000_000_000
    os.utime(tracked.write("m.pt", model()), (future, future))

    def sleep(seconds):
        raise AssertionError(f"waits {seconds} seconds")

    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: OLD + 0.5, sleep=sleep))
    monkeypatch.setattr(module, "SETTLE", 1)
    assert inside("add", "m.pt") == 0
    assert inside("checkout") == 0
    assert tracked.git("status", "--porcelain") == "A  m.pt\n"


def test_other_files_of_the_very_second_of_the_index_stay_in_doubt(tracked, inside, model):
    """git looks at such files again; an index that we write later must not end that."""
    tracked.git("config", "core.trustctime", "false")
    os.utime(tracked.write("m.pt", model()), (OLD - 9, OLD - 9))
    os.utime(tracked.write("notes.txt", b"before"), (OLD, OLD))
    tracked.commit("Both")
    os.utime(tracked.path / ".git" / "index", (OLD, OLD))
    with (tracked.path / "notes.txt").open("r+b") as file:
        file.write(b"after!")
    os.utime(tracked.path / "notes.txt", (OLD, OLD))
    assert inside("checkout") == 0
    assert (tracked.path / ".git" / "index").stat().st_mtime > OLD
    assert tracked.git("status", "--porcelain") == " M notes.txt\n"
    tracked.git("fsck")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_checkout_leaves_nothing_that_git_add_would_take(tracked, model, number):
    tracked.write("sub/m.pt", model())
    tracked.commit("Model")
    (tracked.path / "sub" / "m.pt").unlink()
    script = f"""
import os
from git_theta.cli import checkout, main
real = checkout.content
def content(*args):
    for data in real(*args):
        yield data
        os.kill(os.getpid(), {int(number)})
checkout.content = content
main.main(["checkout"])
"""
    done = tracked.run(sys.executable, "-c", script)
    assert done.returncode == (143 if number == signal.SIGTERM else -number)
    assert tracked.git("status", "--porcelain", "--ignored") == " D sub/m.pt\n"
    if number == signal.SIGTERM:
        assert [file for file in tracked.store.rglob("*") if file.parent.name == "tmp"] == []
    tracked.git("theta", "checkout")
    assert (tracked.read("sub/m.pt"), tracked.status()) == (model(), "")


def test_a_checkout_to_another_disk_writes_beside_the_file(tracked, inside, model, monkeypatch):
    import errno

    tracked.write("m.pt", model())
    tracked.commit("Model")
    (tracked.path / "m.pt").unlink()
    real, refused = os.replace, []

    def replace(source, target):
        if ".git/theta/tmp" in str(source):
            refused.append(source)
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    assert inside("checkout") == 0
    assert len(refused) == 1
    assert (tracked.read("m.pt"), tracked.status()) == (model(), "")


def test_files_of_a_revision_are_those_tracked_then(tracked, model):
    tracked.write("m.pt", model())
    tracked.write("plain.txt", tracked.git("cat-file", "blob", ":.gitattributes").encode())
    tracked.commit("Model")
    text = tracked.git("cat-file", "blob", "HEAD:m.pt")
    tracked.write("m.txt", text.encode())  # metadata as an example: nobody tracks it
    tracked.commit("Example")
    tracked.write(".gitattributes", b"")
    tracked.git("rm", "--quiet", "--cached", "m.pt")
    (tracked.path / "m.pt").unlink()
    tracked.commit("Untracked")
    for folder in (tracked.path, tracked.path / ".git"):
        listed = tracked.git("theta", "ls-files", "--json", "HEAD~1", cwd=folder)
        assert [row["path"] for row in json.loads(listed)] == ["m.pt"]
        assert tracked.git("theta", "ls-files", "HEAD", cwd=folder) == ""
    tracked.git("theta", "checkout", "--source", "HEAD~1", "m.pt")
    assert tracked.read("m.pt") == model()


def test_the_executable_bit_is_that_of_the_source(tracked, model):
    file = tracked.write("m.pt", model())
    file.chmod(0o755)
    tracked.commit("Executable")
    file.write_bytes(model(1))
    file.chmod(0o644)
    tracked.commit("Not any more")
    tracked.git("theta", "checkout", "--source", "HEAD~1")
    assert file.stat().st_mode & 0o111
    tracked.git("theta", "checkout", "--force")
    assert not file.stat().st_mode & 0o111
    assert tracked.status() == ""


@pytest.mark.parametrize("revision", [[], ["HEAD"]])
def test_a_folder_lists_what_is_below_it_and_quotes_control_characters(tracked, model, revision):
    odd = "sub/a\tb\x1b[31m \udcff\\é.pt"
    tracked.write(odd, model())
    tracked.write("sub/plain é.pt", model(1))
    tracked.write("top.pt", model(2))
    tracked.commit("Three")
    below = tracked.git("theta", "ls-files", *revision, cwd=tracked.path / "sub")
    names = [line.split("safetensors  ")[1] for line in below.splitlines()]
    assert names == [r'"sub/a\tb\033[31m \377\\\303\251.pt"', "sub/plain é.pt"]
    assert tracked.git("ls-files", odd).strip() == names[0]
    assert "top.pt" in tracked.git("theta", "ls-files", *revision)
    up = tracked.git("theta", "ls-files", *revision, "--", "..", cwd=tracked.path / "sub")
    assert "top.pt" in up


def test_doctor_and_fsck_look_at_everything_from_a_subfolder(tracked, model):
    tracked.write("m.pt", model())
    tracked.write("sub/notes.txt", b"notes")
    tracked.write("whole.h5", b"not tracked yet")
    (tracked.path / "link.pt").symlink_to("m.pt")
    tracked.commit("Model")
    tracked.write("only in the index.pt", model(1))
    tracked.git("add", ".")
    sub = tracked.path / "sub"
    done = tracked.theta("doctor", cwd=sub)
    assert done.returncode == 0, done.stdout
    assert "2 versions" in tracked.theta("fsck", cwd=sub).stdout
    tracked.write(".gitattributes", tracked.attributes + b"*.h5 filter=theta -text\n")
    (tracked.path / "whole.h5").unlink()  # the index has it all the same
    done = tracked.theta("doctor", cwd=sub)
    assert done.returncode == 1
    assert "whole.h5 is tracked" in done.stdout
    assert "git add --renormalize -- ../whole.h5\n" in done.stdout


def test_checkout_does_without_the_index_when_another_process_has_it_locked(tracked, model):
    tracked.write("m.pt", model())
    tracked.commit("Model")
    (tracked.path / "m.pt").unlink()
    lock = tracked.path / ".git" / "index.lock"
    lock.touch()
    assert tracked.theta("checkout").returncode == 0
    assert lock.exists()
    lock.unlink()
    assert (tracked.read("m.pt"), tracked.status()) == (model(), "")
