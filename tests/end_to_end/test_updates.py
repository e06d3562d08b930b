"""What a changed model costs: groups stand on what they were, wherever git has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from git_theta.storage.pack import Pack


def weights(seed: int = 0, *, prefix: str = "") -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        f"{prefix}layer.{number}.weight": rng.normal(0, 0.02, (160, 128)).astype("<f4")
        for number in range(4)
    }


def stepped(values: dict[str, np.ndarray], seed: int, size: float = 1e-6) -> dict[str, np.ndarray]:
    """The values after a small step on all of them."""
    rng = np.random.default_rng(seed)
    return {
        name: value + rng.normal(0, size, value.shape).astype("<f4")
        for name, value in values.items()
    }


def added(desk, before: dict[str, Path]) -> tuple[int, set[str]]:
    """Bytes of the packs that were added, and the update types of their numbers."""
    packs = [path for name, path in desk.packs().items() if name not in before]
    kinds = set()
    for path in packs:
        pack = Pack(path)
        payloads = [pack.payload(number) for number in range(len(pack))]
        kinds |= {p.update[0] for p in payloads if p.buffers[0][0].dtype != "U8"}
    return sum(path.stat().st_size for path in packs), kinds


def test_a_small_step_costs_a_part_of_the_file_and_comes_back_exactly(tracked):
    files = [save(weights()), save(stepped(weights(), 1))]
    tracked.write("m.safetensors", files[0])
    tracked.commit("Base")
    before = tracked.packs()
    tracked.write("m.safetensors", files[1])
    tracked.commit("Step")
    nbytes, kinds = added(tracked, before)
    assert nbytes < 0.45 * len(files[1])
    assert "dense" not in kinds
    assert tracked.clone("clone").read("m.safetensors") == files[1]
    tracked.git("checkout", "--quiet", "HEAD~1")
    assert tracked.read("m.safetensors") == files[0]
    assert tracked.status() == ""


def test_merged_vectors_cost_little_more_than_themselves(tracked):
    tracked.write("m.safetensors", save(weights()))
    tracked.commit("Base")
    before, rng = tracked.packs(), np.random.default_rng(1)
    vectors = [rng.normal(1, 0.1, shape).astype("<f4") for shape in [(160, 1), (128,)] * 2]
    new = {name: w * vector for (name, w), vector in zip(weights().items(), vectors, strict=True)}
    tracked.write("m.safetensors", save(new))
    tracked.commit("Scaled")
    nbytes, kinds = added(tracked, before)
    assert kinds == {"scale"}
    assert nbytes < sum(vector.nbytes for vector in vectors) + 2000
    assert tracked.clone("clone").read("m.safetensors") == save(new)


def test_keys_that_lost_a_prefix_stand_on_what_they_were_called(tracked):
    old = weights(prefix="module.")
    tracked.write("m.safetensors", save(old))
    tracked.commit("Base")
    before = tracked.packs()
    new = {name.removeprefix("module."): value for name, value in stepped(old, 1).items()}
    tracked.write("m.safetensors", save(new))
    tracked.commit("Unwrapped")
    assert "dense" not in added(tracked, before)[1]


def test_a_file_under_another_name_stands_on_the_one_beside_it(tracked):
    tracked.write("base.safetensors", save(weights()))
    tracked.commit("Base")
    before = tracked.packs()
    tracked.write("tuned/model.safetensors", save(stepped(weights(), 1)))
    tracked.commit("Tuned")
    nbytes, kinds = added(tracked, before)
    assert "dense" not in kinds
    assert nbytes < 0.45 * len(save(weights()))


def test_a_version_that_is_far_back_is_found(tracked):
    """A branch that was tuned from the first version, added on top of something else."""
    tracked.write("m.safetensors", save(weights()))
    tracked.commit("Base")
    tracked.write("m.safetensors", save(weights(7)))
    tracked.commit("Another model")
    before = tracked.packs()
    tracked.write("m.safetensors", save(stepped(weights(), 1)))
    tracked.commit("Tuned from the base")
    assert "dense" not in added(tracked, before)[1]


def test_the_other_parent_of_a_merge_serves_as_well(tracked):
    tracked.write("m.safetensors", save(weights()))
    tracked.commit("Base")
    tracked.git("checkout", "--quiet", "-b", "other")
    tracked.write("m.safetensors", save(weights(3)))
    tracked.commit("Theirs")
    tracked.git("checkout", "--quiet", "main")
    tracked.write("m.safetensors", save(weights(4)))
    tracked.commit("Ours")
    assert tracked.run("git", "merge", "other").returncode
    before = tracked.packs()
    tracked.write("m.safetensors", save(stepped(weights(3), 1)))
    tracked.commit("Merged")
    assert "dense" not in added(tracked, before)[1]


def test_a_new_model_stands_on_nothing(tracked):
    tracked.write("m.safetensors", save(weights()))
    tracked.commit("Base")
    before = tracked.packs()
    tracked.write("m.safetensors", save(weights(7)))
    tracked.commit("Another")
    assert added(tracked, before)[1] == {"dense"}


def test_a_base_that_is_lost_later_is_named(tracked):
    tracked.write("m.safetensors", save(weights()))
    tracked.commit("Base")
    base = tracked.packs()
    tracked.write("m.safetensors", save(stepped(weights(), 1)))
    tracked.commit("Step")
    (tracked.path / "m.safetensors").unlink()
    for path in base.values():
        path.unlink()
    said = tracked.refused("git", "checkout", "--", "m.safetensors")
    assert all(name in said for name in base)
    assert not (tracked.path / "m.safetensors").exists()


@pytest.mark.parametrize("threads", ["1", "3"])
def test_the_same_versions_give_the_same_packs(tracked, threads):
    names = []
    for setting in (threads, "2"):
        tracked.env["GIT_THETA_THREADS"] = setting
        desk = tracked.at(tracked.path.parent / f"with-{len(names)}")
        tracked.git("clone", "--quiet", str(tracked.path), str(desk.path))
        desk.write("m.safetensors", save(weights()))
        desk.commit("Base")
        desk.write("m.safetensors", save(stepped(weights(), 1, 1e-4)))
        desk.commit("Step")
        names.append(set(desk.packs()))
    assert names[0] == names[1]
    assert len(names[0]) == 2


def test_what_is_compiled_and_what_is_not_read_each_other(tracked):
    """A store is shared by machines with a compiler, and without one."""
    rng, old = np.random.default_rng(2), weights()
    merged = {
        name: (
            value + rng.normal(0, 0.02, (160, 4)).astype("<f4") @ rng.normal(0, 0.02, (4, 128))
        ).astype("<f4")
        for name, value in old.items()
    }
    files = [save(old), save(merged), save(stepped(merged, 1)), save(stepped(old, 2, 1e-4))]
    for number, data in enumerate(files):
        tracked.write("m.safetensors", data)
        tracked.git("add", "m.safetensors", GIT_THETA_COMPILED=str(number % 2))
        tracked.git("commit", "--quiet", "-m", str(number))
    for compiled in "01":
        for number, data in enumerate(files):
            there = f"HEAD~{len(files) - 1 - number}"
            tracked.git("checkout", "--quiet", there, "--", ".", GIT_THETA_COMPILED=compiled)
            assert tracked.read("m.safetensors") == data
