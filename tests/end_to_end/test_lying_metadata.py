"""Metadata in a commit that does not tell the truth: an error, and nothing in the work tree."""

from __future__ import annotations

import re

import pytest

PACK = re.compile(r"^pack ([0-9a-f]{64})", re.MULTILINE)


def other_digest(line):
    """Another digest in a line of metadata."""
    return re.sub(r"[0-9a-f]{64}", lambda found: found[0][::-1], line)


def in_line(start, change):
    """Changes the first line that starts so."""

    def lie(text):
        lines = text.split("\n")
        number = next(n for n, line in enumerate(lines) if line.startswith(start))
        lines[number] = change(lines[number])
        return "\n".join(lines)

    return lie


def twice(start):
    return in_line(start, lambda line: f"{line}\n{line}")


def swapped_digests(text):
    digests = re.findall(r"^group .* ([0-9a-f]{64})$", text, re.MULTILINE)
    return text.replace(digests[0], "x").replace(digests[1], digests[0]).replace("x", digests[1])


LIES = {
    "digest of the file": in_line("file ", other_digest),
    "length of the file": in_line("file ", lambda line: f"{line}0"),
    "digest of the skeleton": in_line("skeleton ", other_digest),
    "length of the skeleton": in_line("skeleton ", lambda line: line.replace(" 0", "7 0")),
    "a huge skeleton": in_line("skeleton ", lambda line: line[:-1] + "4"),
    "digest of a group": in_line("group layer.3", other_digest),
    "digests of two groups": swapped_digests,
    "shape of a group": in_line("group layer.3", lambda line: line.replace("64,64", "64,63")),
    "huge shape": in_line("group layer.3", lambda line: line.replace("64,64", "9" * 15)),
    "dtype of a group": in_line("group layer.3", lambda line: line.replace("F32", "I32")),
    "unknown dtype": in_line("group layer.3", lambda line: line.replace("F32", "F33")),
    "a group twice": twice("group layer.3"),
    "a pack twice": twice("pack "),
    "the file twice": twice("file "),
    "a missing group": lambda text: re.sub(r"group layer\.5.*\n", "", text),
    "pack outside of the store": lambda text: PACK.sub("pack ../../../../etc/passwd", text),
    "items that are not there": in_line("pack ", lambda line: line.replace("0-6", "0-7")),
    "a huge range of items": in_line("pack ", lambda line: line.replace("0-6", "0-" + "9" * 18)),
    "unknown version": lambda text: text.replace("metadata 1", "metadata 2"),
    "unknown line": lambda text: text + "more 1\n",
    "no end of line": lambda text: text[:-1],
    "nothing after the first line": lambda text: text.split("\n")[0] + "\n",
    "not utf-8": lambda text: text.replace("layer.3", "layer.\udcff"),
    "a colored terminal": lambda text: text.replace("layer.3", "layer.\x1b[31m3"),
}


@pytest.fixture
def stored(tracked, model):
    """A committed model, and a function that commits other text in its place."""
    tracked.write("m.pt", model())
    tracked.commit("Model")

    def commit(text):
        file = tracked.path / "text"
        file.write_bytes(text.encode(errors="surrogateescape"))
        oid = tracked.git("hash-object", "-w", "--no-filters", "text").strip()
        file.unlink()
        tracked.git("update-index", "--cacheinfo", f"100644,{oid},m.pt")
        tracked.git("commit", "--quiet", "--allow-empty", "--message", "Lie")
        (tracked.path / "m.pt").unlink(missing_ok=True)

    return tracked, commit


def assert_refused(desk, what, *command):
    done = desk.run("git", *command)
    assert done.returncode not in (0, -9), (what, done)
    assert "m.pt" in done.stderr, (what, done)
    for word in ("Traceback", "Unexpected", "\x1b"):
        assert word not in done.stderr, (what, done)
    assert not (desk.path / "m.pt").exists(), what


def test_metadata_that_lies_never_becomes_a_file(stored):
    desk, commit = stored
    true = desk.git("show", "HEAD:m.pt")
    for what, lie in LIES.items():
        false = lie(true)
        assert false != true, what
        commit(false)
        assert_refused(desk, what, "checkout", "--", "m.pt")
    commit(true)
    desk.git("checkout", "--", "m.pt")
    assert desk.status() == ""


@pytest.mark.parametrize("what", ["digest of the file", "digest of a group", "a group twice"])
def test_our_own_checkout_refuses_lies_as_well(stored, what):
    desk, commit = stored
    commit(LIES[what](desk.git("show", "HEAD:m.pt")))
    assert_refused(desk, what, "theta", "checkout", "m.pt")
    assert [path.name for path in desk.path.iterdir() if path.name.startswith(".git-theta")] == []


def test_fsck_finds_metadata_that_lies_about_packs_and_sizes(stored):
    desk, commit = stored
    true = desk.git("show", "HEAD:m.pt")
    commit(LIES["digest of a group"](true))
    checked = desk.theta("fsck")
    assert checked.returncode == 30
    assert "group 'layer.3.weight'" in checked.stdout


def test_metadata_of_another_version_tells_to_upgrade(stored):
    desk, commit = stored
    commit(LIES["unknown version"](desk.git("show", "HEAD:m.pt")))
    said = desk.refused("git", "checkout", "m.pt")
    assert "pip install --upgrade git-theta" in said


def test_hints_that_name_the_wrong_pack_are_only_hints(stored, model):
    desk, commit = stored
    commit(in_line("pack ", other_digest)(desk.git("show", "HEAD:m.pt")))
    desk.git("checkout", "m.pt")
    assert (desk.read("m.pt"), desk.status()) == (model(), "")
    assert desk.theta("fsck").returncode == 0
