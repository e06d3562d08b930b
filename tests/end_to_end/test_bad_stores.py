"""Damaged packs and indexes: named with a remedy, found by fsck, never checked out as weights."""

from __future__ import annotations

import os
import sqlite3

import pytest

PLACES = {
    "first bytes": lambda size: 3,
    "first payload": lambda size: 100,
    "a quarter": lambda size: size // 4,
    "the middle": lambda size: size // 2,
    "three quarters": lambda size: size * 3 // 4,
    "directory": lambda size: size - 80,
    "where the directory starts": lambda size: size - 56,
    "digest of the directory": lambda size: size - 20,
    "last bytes": lambda size: size - 1,
}
"""Where a byte is flipped, by the length of the pack in bytes."""


@pytest.fixture
def stored(tracked, model):
    """A committed model whose file was removed, and the only pack that holds it."""
    tracked.write("m.pt", model())
    tracked.commit("Model")
    (tracked.path / "m.pt").unlink()
    (pack,) = tracked.packs().values()
    pack.chmod(0o644)
    return tracked, pack


def assert_refused(desk, pack, *names):
    """Git's checkout and ours fail with an error that says what, where and what to do."""
    for command in (["checkout", "--", "m.pt"], ["theta", "checkout", "m.pt"]):
        said = desk.refused("git", *command)
        for name in ("m.pt", pack.name, *names):
            assert name in said
        assert "git theta fsck" in said or "git theta fetch" in said
        assert "Traceback" not in said
        assert sorted(os.listdir(desk.path)) == [".git", ".gitattributes"]
    checked = desk.theta("fsck")
    assert checked.returncode == 30, checked.stdout + checked.stderr
    assert pack.name in checked.stdout
    assert "Traceback" not in checked.stderr


def test_a_flipped_byte_in_a_pack_never_reaches_the_work_tree(stored):
    desk, pack = stored
    true = pack.read_bytes()
    for place in PLACES.values():
        data = bytearray(true)
        data[place(len(data))] ^= 0x10
        pack.write_bytes(data)
        assert_refused(desk, pack)
    assert pack.name in desk.theta("doctor").stdout
    pack.write_bytes(true)
    assert desk.theta("fsck").returncode == 0
    desk.git("checkout", "--", "m.pt")


def test_a_flipped_byte_in_a_group_is_an_error_that_names_the_group(stored):
    desk, pack = stored
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 0x10
    pack.write_bytes(data)
    assert_refused(desk, pack, "group 'layer.")


@pytest.mark.parametrize("index", ["kept", "removed"])
def test_a_truncated_pack_is_refused(stored, index):
    desk, pack = stored
    true = pack.read_bytes()
    for length in (0, 10, len(true) // 2, len(true) - 1):
        pack.write_bytes(true[:length])
        if index == "removed":
            (desk.store / "index.sqlite").unlink()
        assert_refused(desk, pack)


@pytest.mark.parametrize("index", ["kept", "removed"])
def test_a_deleted_pack_is_named_and_can_be_copied_back(stored, model, index):
    desk, pack = stored
    data = pack.read_bytes()
    pack.unlink()
    if index == "removed":
        (desk.store / "index.sqlite").unlink()
    assert_refused(desk, pack, str(desk.store / "objects"))
    pack.write_bytes(data)
    desk.git("theta", "checkout", "m.pt")
    assert (desk.read("m.pt"), desk.status()) == (model(), "")


def test_a_damaged_pack_is_mended_from_the_work_tree(stored, model):
    desk, pack = stored
    data = pack.read_bytes()
    pack.write_bytes(data[:1000])
    desk.write("m.pt", model())
    assert desk.theta("fsck").returncode == 30
    pack.unlink()
    desk.git("add", "--renormalize", "m.pt")
    assert desk.theta("fsck").returncode == 0
    assert desk.clone("clone").read("m.pt") == model()


def test_one_damaged_pack_leaves_the_others_usable(stored, model):
    desk, pack = stored
    desk.write("n.pt", model(2, rows=80))
    desk.commit("Another", "n.pt")
    pack.write_bytes(b"GTHPACK1" + os.urandom(500))
    (desk.store / "index.sqlite").unlink()
    (desk.path / "n.pt").unlink()
    desk.git("checkout", "--", "n.pt")
    assert desk.read("n.pt") == model(2, rows=80)
    desk.write("third.pt", model(3, rows=90))
    desk.git("add", "third.pt")
    assert pack.name in desk.refused("git", "checkout", "m.pt")


def test_a_pack_under_a_false_name_is_found(stored):
    desk, pack = stored
    false = pack.with_name("0" * 64)
    pack.rename(false)
    checked = desk.theta("fsck")
    assert checked.returncode == 30
    assert f"pack {false.name}: is corrupt: its SHA-256 is {pack.name}" in checked.stdout


def test_other_files_between_the_packs_are_ignored(stored, model):
    desk, _ = stored
    objects = desk.store / "objects"
    (objects / "README").write_text("not a pack")
    (objects / ("A" * 64)).write_text("upper case")
    (objects / "pack.part").mkdir()
    desk.git("checkout", "--", "m.pt")
    assert desk.read("m.pt") == model()
    assert desk.theta("fsck").returncode == 0


def garbage(index):
    index.write_bytes(os.urandom(5000))


def cut_short(index):
    os.truncate(index, index.stat().st_size // 2)


def emptied(index):
    index.write_bytes(b"")


def another_database(index):
    index.unlink()
    with sqlite3.connect(index) as database:
        database.execute("CREATE TABLE buffers (unlike INTEGER)")
    database.close()


def newer_version(index):
    with sqlite3.connect(index) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()


def overwritten_inside(index):
    data = bytearray(index.read_bytes())
    data[1024:] = b"\xaa" * (len(data) - 1024)
    index.write_bytes(data)


@pytest.mark.parametrize(
    "damage", [garbage, cut_short, emptied, another_database, newer_version, overwritten_inside]
)
def test_a_damaged_index_is_rebuilt_from_the_packs(stored, model, damage):
    desk, _ = stored
    damage(desk.store / "index.sqlite")
    desk.git("checkout", "--", "m.pt")
    assert (desk.read("m.pt"), desk.status()) == (model(), "")
    desk.write("n.pt", model(1))
    desk.commit("More")
    assert desk.theta("fsck").returncode == 0


def test_an_index_that_lies_is_found_out_and_fsck_mends_it(stored, model):
    desk, pack = stored
    with sqlite3.connect(desk.store / "index.sqlite") as database:
        database.execute("UPDATE buffers SET payload = payload + 1000")
    database.close()
    said = desk.refused("git", "checkout", "--", "m.pt")
    assert pack.name in said
    assert "git theta fsck" in said
    assert desk.theta("fsck").returncode == 0
    desk.git("checkout", "--", "m.pt")
    assert desk.read("m.pt") == model()


def test_a_switch_that_fails_stays_on_its_commit(tracked, model):
    tracked.write("m.pt", model())
    tracked.commit("First")
    (pack,) = tracked.packs().values()
    tracked.write("m.pt", b"no more than text")
    tracked.commit("Second")
    pack.unlink()
    said = tracked.refused("git", "checkout", "HEAD~1")
    assert pack.name in said
    # git had removed the file before it asked for its new content
    assert tracked.git("symbolic-ref", "HEAD") == "refs/heads/main\n"
    assert tracked.git("status", "--porcelain") == " D m.pt\n"
    tracked.git("checkout", "--", ".")
    assert (tracked.read("m.pt"), tracked.status()) == (b"no more than text", "")
    said = tracked.refused("git", "theta", "checkout", "--source", "HEAD~1", "m.pt")
    assert pack.name in said
    assert (tracked.read("m.pt"), tracked.status()) == (b"no more than text", "")


def test_a_version_that_stands_on_a_lost_one_names_the_lost_pack(tracked, model):
    # a skeleton is stored against the one before it
    tracked.write("m.pt", model())
    tracked.commit("First")
    (first,) = tracked.packs().values()
    tracked.write("m.pt", model(1, rows=70))
    tracked.commit("Second")
    first.unlink()
    (tracked.path / "m.pt").unlink()
    said = tracked.refused("git", "checkout", "--", "m.pt")
    assert f"lacks the skeleton, expected in:\ngit-theta:   pack {first.name}" in said
