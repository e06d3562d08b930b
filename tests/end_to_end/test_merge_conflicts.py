"""Two branches change one model: git merges the metadata, and the user settles it with git.

git merges the cleaned text, line by line. The line of the whole file's digest differs on both
sides, so such a merge is always a conflict; what git then smudges is text with conflict markers.
"""

from __future__ import annotations

import pytest


@pytest.fixture
def diverged(tracked, model):
    """Branches ``main`` and ``theirs`` with other values in one group each."""
    tracked.write("m.pt", model())
    tracked.write("notes.txt", b"first\n")
    tracked.commit("Base")
    tracked.git("checkout", "--quiet", "-b", "theirs")
    tracked.write("m.pt", model(3))
    tracked.commit("Theirs")
    tracked.git("checkout", "--quiet", "main")
    tracked.write("m.pt", model(1))
    tracked.commit("Ours")
    return tracked


def test_a_merge_of_two_changed_models_is_a_conflict_that_git_reports(diverged):
    merged = diverged.run("git", "merge", "theirs")
    assert merged.returncode == 1
    assert "CONFLICT (content): Merge conflict in m.pt" in merged.stdout
    assert merged.stderr == ""
    text = diverged.read("m.pt")
    assert text.startswith(b"git-theta metadata 1\n")
    assert b"\n<<<<<<< HEAD\n" in text
    assert b"\n>>>>>>> theirs\n" in text
    assert diverged.git("status", "--porcelain") == "UU m.pt\n"


def test_a_conflict_is_not_added_and_the_refusal_says_how_to_settle_it(diverged):
    diverged.run("git", "merge", "theirs")
    before = diverged.read("m.pt")
    for command in (["add", "m.pt"], ["commit", "--all", "-m", "no"], ["theta", "add", "m.pt"]):
        said = diverged.refused("git", *command)
        assert "git checkout --ours -- m.pt (or --theirs), then git add -- m.pt" in said
        assert "Traceback" not in said
    assert diverged.read("m.pt") == before
    assert diverged.git("status", "--porcelain") == "UU m.pt\n"


@pytest.mark.parametrize(("side", "seed"), [("ours", 1), ("theirs", 3)])
def test_checkout_of_one_side_and_add_settle_a_conflict(diverged, model, side, seed):
    diverged.run("git", "merge", "theirs")
    stored = diverged.packs()
    diverged.git("checkout", f"--{side}", "--", "m.pt")
    assert diverged.read("m.pt") == model(seed)
    diverged.git("add", "m.pt")
    diverged.git("commit", "--quiet", "--no-edit")
    assert (diverged.read("m.pt"), diverged.status()) == (model(seed), "")
    assert diverged.packs() == stored
    assert len(diverged.git("rev-list", "--parents", "-1", "HEAD").split()) == 3


def test_a_third_model_settles_a_conflict_too(diverged, model):
    diverged.run("git", "merge", "theirs")
    diverged.write("m.pt", model(2))
    diverged.git("add", "m.pt")
    diverged.git("commit", "--quiet", "--no-edit")
    assert (diverged.read("m.pt"), diverged.status()) == (model(2), "")


def test_a_merge_can_be_aborted(diverged, model):
    diverged.run("git", "merge", "theirs")
    diverged.git("merge", "--abort")
    assert (diverged.read("m.pt"), diverged.status()) == (model(1), "")


@pytest.mark.parametrize("command", ["rebase", "cherry-pick"])
def test_conflicts_of_other_commands_are_settled_the_same_way(diverged, model, command):
    assert diverged.run("git", command, "theirs").returncode == 1
    assert b"<<<<<<<" in diverged.read("m.pt")
    diverged.git("checkout", "--theirs", "m.pt")
    diverged.git("add", "m.pt")
    diverged.git("-c", "core.editor=true", command, "--continue")
    # a rebase replays our commit onto theirs, so that "theirs" is ours there
    assert diverged.read("m.pt") == model(1 if command == "rebase" else 3)
    assert diverged.status() == ""


def test_a_stash_that_conflicts_is_kept(diverged, model):
    diverged.write("m.pt", model(2))
    diverged.git("stash")
    diverged.git("merge", "--quiet", "-s", "ours", "--no-edit", "theirs")
    diverged.write("m.pt", model(4))
    diverged.commit("Fourth")
    assert diverged.run("git", "stash", "pop").returncode == 1
    diverged.git("checkout", "--theirs", "m.pt")
    assert diverged.read("m.pt") == model(2)
    diverged.git("add", "m.pt")
    diverged.git("commit", "--quiet", "--message", "Settled")
    diverged.git("stash", "drop")
    assert diverged.status() == ""


def test_lines_that_git_mixed_are_refused_and_never_become_weights(diverged, model):
    said = diverged.refused("git", "merge", "-X", "ours", "--no-edit", "theirs")
    assert "m.pt" in said
    assert "git checkout COMMIT -- m.pt" in said
    assert not (diverged.path / "m.pt").exists()
    diverged.git("reset", "--quiet", "--hard")
    assert (diverged.read("m.pt"), diverged.status()) == (model(1), "")


def test_a_merge_beside_an_unchanged_model_leaves_it_alone(diverged, model, filter_starts):
    diverged.git("checkout", "--quiet", "-b", "notes", "main~1")
    diverged.write("notes.txt", b"second\n")
    diverged.commit("Notes")
    diverged.git("checkout", "--quiet", "main")
    inode = (diverged.path / "m.pt").stat().st_ino
    diverged.git("merge", "--quiet", "--no-edit", "notes")
    assert (diverged.path / "m.pt").stat().st_ino == inode
    assert (diverged.read("m.pt"), diverged.status()) == (model(1), "")


def test_a_merge_takes_the_model_of_the_side_that_changed_it(diverged, model):
    diverged.git("checkout", "--quiet", "-b", "notes", "main~1")
    diverged.write("notes.txt", b"second\n")
    diverged.commit("Notes")
    diverged.git("merge", "--quiet", "--no-edit", "theirs")
    assert (diverged.read("m.pt"), diverged.status()) == (model(3), "")


def test_a_file_that_quotes_conflict_markers_is_no_conflict(tracked):
    text = b"<<<<<<< HEAD\na\n=======\nb\n>>>>>>> theirs\n"
    tracked.write("m.pt", text)
    tracked.commit("Text")
    clone = tracked.clone("clone")
    assert (clone.read("m.pt"), clone.status()) == (text, "")


@pytest.mark.parametrize(
    "change",
    [
        ("group layer.0", "group zlayer.0"),
        ("git-theta metadata 1\n", "git-theta metadata 1\n\n"),
        ("git-theta metadata 1\n", "git-theta metadata 2\n"),
        (" F32 ", " F31 "),
        ("[64,64]", "[64,064]"),
        ("\nskeleton ", "\nSkeleton "),
    ],
)
def test_metadata_that_was_garbled_by_hand_is_not_added(tracked, model, change):
    tracked.write("m.pt", model())
    tracked.commit("Model")
    text = tracked.git("show", "HEAD:m.pt")
    tracked.write("m.pt", text.replace(*change).encode())
    said = tracked.refused("git", "add", "m.pt")
    assert "git checkout HEAD -- m.pt" in said or "pip install --upgrade git-theta" in said
    tracked.git("checkout", "HEAD", "--", "m.pt")
    assert (tracked.read("m.pt"), tracked.status()) == (model(), "")


def test_a_conflict_does_not_keep_git_from_showing_differences(diverged):
    assert diverged.run("git", "merge", "theirs").returncode == 1
    diverged.write("notes.txt", b"new\n")
    shown = diverged.git("diff")
    assert "+new" in shown
    assert "++<<<<<<< HEAD" in shown
    assert "notes.txt" in diverged.git("diff", "--name-only").splitlines()
    assert "notes.txt" in diverged.git("diff", "HEAD", "--stat")
    assert "UU m.pt" in diverged.status()
    assert "in conflict" in diverged.refused("git", "add", "m.pt")
