"""``git theta du``: the sums are those of the packs, and what is lost is said."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load, save


@pytest.fixture
def history(tracked, model):
    """Two models on one branch, the first of them in three versions."""
    for seed in range(3):
        tracked.write("m.safetensors", model(seed, rows=200))
        tracked.write(f"notes-{seed}.txt", b"text")
        tracked.commit(f"Version {seed}")
    tracked.write("sub/other.safetensors", model(9, rows=100))
    tracked.commit("Other")
    return tracked


def du(desk, *args, cwd=None):
    done = desk.theta("du", "--json", *args, cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_versions_add_up_to_what_is_stored(history, model):
    found = du(history, "--all")
    rows, total = found["rows"], found["total"]
    assert [row["path"] for row in rows] == ["m.safetensors"] * 3 + ["sub/other.safetensors"]
    assert [row["logical"] for row in rows[:3]] == [len(model(0, rows=200))] * 3
    assert rows[0]["added"] == rows[0]["reads"]
    assert 0 < rows[1]["added"] < rows[0]["added"] / 3
    assert sum(row["added"] for row in rows) == total["stored"] <= total["pack_bytes"]
    assert total["packs"] == len(history.packs()) == 4
    sizes = [pack.stat().st_size for pack in history.packs().values()]
    assert total["pack_bytes"] == sum(sizes)


def test_what_a_version_adds_does_not_depend_on_what_is_asked_for(history):
    rows = {row["blob"]: row for row in du(history, "--all")["rows"]}
    assert du(history)["rows"] == list(rows.values())[2:]
    assert du(history, "HEAD~2")["rows"] == [list(rows.values())[1]]
    assert du(history, "HEAD", "--", "m.*")["rows"] == [list(rows.values())[2]]
    assert du(history, "--all", "m.safetensors")["rows"] == list(rows.values())[:3]
    assert du(history, "--all", "--", "sub")["rows"] == list(rows.values())[3:]
    assert du(history, cwd=history.path / "sub")["rows"] == list(rows.values())[3:]


def test_a_version_is_named_by_the_first_commit_that_has_it(history, model):
    first = history.git("rev-parse", "HEAD~3").strip()
    date = history.git("show", "-s", "--format=%cs", first).strip()
    history.git("checkout", "-q", "-b", "side", "HEAD~3")
    history.write("side.safetensors", model(7, rows=100))
    history.commit("Side")
    side = history.git("rev-parse", "HEAD").strip()
    history.git("checkout", "-q", "main")
    history.git("merge", "-q", "--no-ff", "-m", "Merged", "side")
    history.git("revert", "--no-edit", "HEAD~1", "HEAD~2", "HEAD~3")  # as version 0 was
    history.write("staged.safetensors", model(8, rows=100))
    history.git("add", "staged.safetensors")
    rows = {row["path"]: (row["commit"], row["date"]) for row in du(history)["rows"]}
    assert rows["m.safetensors"] == (first, date)
    assert rows["side.safetensors"][0] == side
    assert rows["staged.safetensors"] == (None, None)
    said = history.theta("du").stdout
    assert f"  {first[:12]}  {date}  m.safetensors\n" in said
    assert "  -             -           staged.safetensors\n" in said


def test_a_path_needs_no_dashes_where_no_revision_has_its_name(history):
    by_dashes = du(history, "--", "m.safetensors")["rows"]
    assert du(history, "m.safetensors")["rows"] == by_dashes
    assert du(history, "m.safetensors", "sub")["rows"] == du(history)["rows"]
    assert len(du(history)["rows"]) == 2
    history.git("tag", "m.safetensors", "HEAD~3")
    assert du(history, "m.safetensors")["rows"] == du(history, "HEAD~3")["rows"] != by_dashes
    listed = history.theta("ls-files", "sub").stdout
    assert listed.split()[-1] == "sub/other.safetensors"


def test_a_version_that_is_there_twice_adds_nothing_the_second_time(history, model):
    history.write("copy.safetensors", model(2, rows=200))
    history.git("add", "copy.safetensors")
    copy, first = du(history, "--", "*m.safetensors", "copy.safetensors")["rows"]
    assert (copy["path"], copy["blob"]) == ("copy.safetensors", first["blob"])
    assert copy["added"] == 0 < first["added"]
    assert copy["reads"] == first["reads"]


def test_update_types_share_what_is_stored(history):
    values = load(history.read("m.safetensors"))
    random = np.random.default_rng(5)
    steps = {n: random.normal(0, 1e-6, v.shape).astype(v.dtype) for n, v in values.items()}
    history.write("m.safetensors", save({n: v + steps[n] for n, v in values.items()}))
    history.git("add", "m.safetensors")
    found = du(history, "--all", "--by", "update")
    assert [row["update"] for row in found["rows"]] == ["dense", "delta"]
    assert [row["payloads"] for row in found["rows"]][1] == 6
    assert found["rows"][1]["logical"] == 6 * 51200
    assert sum(row["stored"] for row in found["rows"]) == found["total"]["stored"]
    assert sum(row["share"] for row in found["rows"]) == pytest.approx(1)


def test_groups_have_a_line_each_with_what_reading_them_costs(history):
    rows = du(history, "HEAD", "--by", "group", "--", "m.safetensors")["rows"]
    assert [row["kind"] for row in rows] == ["skeleton"] + ["group"] * 6
    assert [row["name"] for row in rows[1:]] == [f"layer.{n}.weight" for n in range(6)]
    for row in rows[1:]:
        assert (row["dtype"], row["shape"], row["logical"]) == ("F32", [200, 64], 51200)
        assert (row["depth"], row["updates"]) == (1, ["dense"])
        assert 0 < row["stored"] == row["reads"] < 51200
    several = du(history, "--all", "--by", "group")["rows"]
    values = [row["values"] for row in several if row["path"] == "m.safetensors"]
    assert values == [1, 1, 2, 2, 1, 1, 1]


def test_groups_that_share_a_payload_share_its_bytes_and_are_read_by_the_block(tracked, model):
    tracked.write("m.safetensors", model(rows=64))
    tracked.commit("Short groups")
    (bundle,) = [row["stored"] for row in du(tracked, "--by", "update")["rows"]]
    _, *rows = du(tracked, "--by", "group")["rows"]
    assert 0.9 * bundle < sum(row["stored"] for row in rows) < bundle  # the skeleton is there, too
    # two groups of 16 kB lie in a block: one may be read along with what it holds
    assert all(row["stored"] <= row["reads"] <= 2 * 64 * 64 * 4 + 4096 for row in rows)
    assert all(row["reads"] < bundle / 2 for row in rows)


def test_a_value_that_two_groups_have_is_counted_once_and_said(tracked):
    values = {name: np.arange(20_000, dtype=np.float32) for name in ("a", "b", "c")}
    values["c"] = values["c"] + 1
    tracked.write("m.safetensors", save(values))
    tracked.commit("Twice the same")
    rows = {row["name"]: row for row in du(tracked, "--by", "group")["rows"]}
    assert (rows["a"]["values"], rows["a"]["updates"]) == (1, ["dense"])
    assert (rows["b"]["values"], rows["b"]["updates"], rows["b"]["stored"]) == (0, ["same"], 0)
    assert rows["c"]["updates"] == ["dense"]


def test_people_get_columns(history):
    said = history.theta("du", "--all").stdout.splitlines()
    assert said[0].split() == ["LOGICAL", "ADDED", "READS", "COMMIT", "DATE", "PATH"]
    assert said[1].endswith("  m.safetensors")
    assert said[-1].startswith("4 versions: ")
    assert said[-1].endswith(" in 4 packs")
    for by, first in (("update", "dense"), ("group", "(skeleton)")):
        lines = history.theta("du", "--by", by, "--", "m.safetensors").stdout.splitlines()
        assert lines[1].endswith(first)


def test_what_the_store_lacks_is_said(history):
    found = du(history, "--all")["rows"]
    for pack in history.packs().values():
        pack.unlink()
    done = history.theta("du", "--all")
    assert (done.returncode, done.stderr) == (0, "")
    blob = found[0]["blob"][:12]
    assert f"m.safetensors ({blob}): lacks the skeleton, group 'layer.0.weight', " in done.stdout
    assert "and 4 more" in done.stdout
    assert du(history)["total"]["stored"] == 0
    (skeleton, *groups) = du(history, "--by", "group", "--", "m.safetensors")["rows"]
    assert skeleton["updates"] == ["lacking"]
    assert all(row["updates"] == ["lacking"] for row in groups)


def test_a_damaged_pack_is_said(history):
    for pack in history.packs().values():
        data = bytearray(pack.read_bytes())
        data[-1] ^= 1
        pack.chmod(0o644)
        pack.write_bytes(data)
    done = history.theta("du")
    assert done.returncode == 0
    assert "lacks " in done.stdout
    assert "Traceback" not in done.stderr


def test_nothing_tracked_is_no_error(tracked):
    said = tracked.theta("du").stdout
    assert said == "0 versions: 0 B read from 0 B; the store has 0 B in 0 packs\n"


def test_no_such_revision_is_an_error(tracked):
    done = tracked.theta("du", "nowhere")
    assert done.returncode == 50
    assert "Expected a commit or a tree, found 'nowhere'" in done.stderr
