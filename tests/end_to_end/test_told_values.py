"""git theta add --update-path with whole values: what file, index and store are after it."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from safetensors.numpy import load, save, save_file


def _values():
    rng = np.random.default_rng(7)
    weights = {f"layer.{n}.weight": rng.standard_normal((192, 128), np.float32) for n in range(3)}
    return weights | {"layer.0.bias": rng.standard_normal(192, np.float32)}


def _state(desk, name):
    """All that a refused command must leave as it was."""
    stat = (desk.path / name).stat()
    blob = desk.git("ls-files", "-s")
    return desk.read(name), stat.st_mtime_ns, stat.st_mode, blob, set(desk.packs())


@pytest.fixture
def committed(tracked):
    """A repository with one committed checkpoint, ``m.safetensors``."""
    tracked.write("m.safetensors", save(_values(), {"made": "by hand"}))
    tracked.commit("Model")
    return tracked


@pytest.fixture
def told(tmp_path):
    """An update file with a new value of one group."""
    path = tmp_path / "u.safetensors"
    save_file({"layer.0.bias": np.ones(192, np.float32)}, path)
    return str(path)


def _command(path, name="m.safetensors", kind="dense"):
    return "git", "theta", "add", name, "--update-type", kind, "--update-path", path


def test_dense_values_replace_groups(committed, told):
    done = committed.run(*_command(told))
    assert "Updated 1 parameter group of m.safetensors; " in done.stdout
    after = load(committed.read("m.safetensors"))
    assert np.array_equal(after.pop("layer.0.bias"), np.ones(192))
    assert all(np.array_equal(_values()[name], value) for name, value in after.items())
    assert committed.read("m.safetensors").count(b"by hand") == 1
    committed.git("commit", "--quiet", "--message", "Update")
    assert committed.status() == ""
    assert committed.clone("clone").read("m.safetensors") == committed.read("m.safetensors")
    assert committed.theta("fsck").returncode == 0


def test_a_first_commit_may_hold_an_update(tracked, told):
    tracked.write("m.safetensors", save(_values()))
    done = tracked.run(*_command(told), "--json")
    assert json.loads(done.stdout)[0]["updated"] == [{"name": "layer.0.bias", "rank": None}]
    tracked.commit("First")
    assert tracked.clone("clone").read("m.safetensors") == tracked.read("m.safetensors")
    assert np.array_equal(load(tracked.read("m.safetensors"))["layer.0.bias"], np.ones(192))


def test_an_update_that_was_told_before_is_not_stored_twice(committed, told):
    committed.run(*_command(told))
    committed.git("commit", "--quiet", "--message", "Update")
    packs = committed.packs()
    committed.git("checkout", "--quiet", "HEAD~1", "--", "m.safetensors")
    done = committed.run(*_command(told))
    assert done.returncode == 0
    assert "0 B stored" in done.stdout
    assert committed.packs() == packs
    assert committed.git("status", "--porcelain") == ""


def test_the_mode_of_the_file_stays(committed, told):
    (committed.path / "m.safetensors").chmod(0o755)
    committed.commit("Executable")
    assert committed.run(*_command(told)).returncode == 0
    assert os.stat(committed.path / "m.safetensors").st_mode & 0o777 == 0o755
    assert committed.git("ls-files", "-s", "m.safetensors").startswith("100755")


def test_a_file_in_a_folder_is_updated_from_there(committed, told):
    committed.write("deep/m.safetensors", save(_values()))
    committed.commit("Deep")
    folder = committed.path / "deep"
    done = committed.run(*_command(os.path.relpath(told, folder)), cwd=folder)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(load(committed.read("deep/m.safetensors"))["layer.0.bias"], np.ones(192))
    assert committed.git("status", "--porcelain") == "M  deep/m.safetensors\n"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nowhere": np.ones(3)}, "Expected a parameter group 'nowhere' in m.safetensors"),
        ({"layer.1.bias": np.ones(3)}, "the nearest are 'layer.0.bias'"),
        ({"layer.0.bias": np.ones(192)}, "Expected F32 of shape [192], found F64 of shape [192]"),
        ({"layer.0.bias": np.ones((2, 96), np.float32)}, "found F32 of shape [2, 96]"),
        (
            {"layer.0.bias": np.ones(1), "layer.0.bias/parameter": np.ones(1)},
            "parameter of group 'layer.0.bias' is there twice",
        ),
        ({}, "found no parameter group"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    committed, tmp_path, values, message
):
    fits = {"layer.1.weight": _values()["layer.0.weight"]} if values else {}
    save_file(fits | values, tmp_path / "u.safetensors")
    before = _state(committed, "m.safetensors")
    said = committed.refused(*_command(str(tmp_path / "u.safetensors")))
    assert message in said
    assert "Traceback" not in said
    assert _state(committed, "m.safetensors") == before
    assert not list(committed.store.glob("tmp/*"))


def test_an_update_file_of_no_known_format_is_refused(committed, tmp_path):
    (tmp_path / "u.txt").write_text("R = 1")
    said = committed.refused(*_command(str(tmp_path / "u.txt")))
    assert "expected a checkpoint, found a file that no installed format knows" in said


def test_a_refusal_of_a_new_file_stores_nothing(tracked, tmp_path):
    tracked.write("m.safetensors", save(_values()))
    save_file({"nowhere": np.ones(3)}, tmp_path / "u.safetensors")
    before = _state(tracked, "m.safetensors")
    tracked.refused(*_command(str(tmp_path / "u.safetensors")))
    assert _state(tracked, "m.safetensors") == before


def test_changes_that_are_not_in_git_are_not_mixed_in(committed, told):
    changed = save(_values() | {"layer.1.weight": np.zeros((192, 128), np.float32)})
    committed.write("m.safetensors", changed)
    said = committed.refused(*_command(told))
    assert "m.safetensors has changes that are not in git" in said
    assert committed.read("m.safetensors") == changed


def test_metadata_in_the_work_tree_cannot_be_updated(committed, told):
    text = committed.git("show", "HEAD:m.safetensors")
    committed.write("m.safetensors", text.encode())
    said = committed.refused(*_command(told))
    assert "Write it first: git theta checkout m.safetensors" in said


def test_only_one_tracked_file_can_be_updated_at_once(committed, told):
    committed.write("n.safetensors", save(_values()))
    said = committed.refused(*_command(told, "."))
    assert "updates one tracked file, found 2 tracked" in said


def test_a_type_that_nothing_tells_is_refused(committed, told):
    said = committed.refused(*_command(told, kind="delta"))
    assert "An update of type delta cannot be told" in said


def test_views_of_shared_bytes_are_refused_by_name(tracked, told, tmp_path):
    torch = pytest.importorskip("torch")
    weight = torch.randn(64, 32)
    tied = {"embed": weight, "head": weight, "turned": torch.randn(32, 64).T}
    torch.save(tied, tracked.path / "m.pt")
    tracked.commit("Model")
    for name, message in (
        ("head", "'head' of m.pt shares its bytes with 'embed'"),
        ("turned", "'turned' of m.pt is a slice or a transposed view of its bytes"),
    ):
        save_file({name: np.ones((64, 32), np.float32)}, tmp_path / "u.safetensors")
        assert message in tracked.refused(*_command(str(tmp_path / "u.safetensors"), "m.pt"))


def test_a_locked_index_leaves_the_file_as_it_was(committed, told):
    before = committed.read("m.safetensors")
    (committed.path / ".git" / "index.lock").touch()
    assert "index.lock" in committed.refused(*_command(told))
    (committed.path / ".git" / "index.lock").unlink()
    assert committed.read("m.safetensors") == before
    assert committed.status() == ""


def test_big_endian_numbers_keep_their_byte_order(tracked, tmp_path):
    with (tracked.path / "m.bin").open("wb") as file:
        np.savez(file, w=np.arange(12, dtype=">f4").reshape(3, 4), step=np.array(7))
    tracked.commit("Model")
    np.savez(tmp_path / "u.npz", w=np.full((3, 4), 2.5, "<f4"))
    assert tracked.run(*_command(str(tmp_path / "u.npz"), "m.bin")).returncode == 0
    with np.load(tracked.path / "m.bin") as after:
        assert after["w"].dtype == np.dtype(">f4")
        assert (after["w"] == 2.5).all()
        assert after["step"] == 7
    tracked.git("commit", "--quiet", "--message", "Update")
    assert tracked.clone("clone").read("m.bin") == tracked.read("m.bin")
