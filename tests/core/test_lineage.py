"""Which buffers of other versions a group is compared with."""

from __future__ import annotations

from collections.abc import Iterable

from git_theta.lineage import Lineage, Role
from git_theta.metadata import Group, Metadata, Skeleton, print_metadata
from git_theta.storage.payload import BufferId


def group(name: str, seed: int, dtype: str = "F32", shape: tuple[int, ...] = (2, 3)) -> Group:
    return Group(name, dtype, shape, bytes([seed]) * 32)


def text(*groups: Group) -> bytes:
    metadata = Metadata(
        (("safetensors", "git-theta-core"),),
        bytes(32),
        1,
        Skeleton(bytes(32), 1, 0),
        tuple(sorted(groups)),
        (),
        (),
    )
    return print_metadata(metadata)


def near(lineage: Lineage, new: Group) -> list[BufferId]:
    return [candidate.buffer for candidate in lineage.bases(Role(new)).near]


def far(lineage: Lineage, new: Group) -> list[BufferId]:
    return [candidate.buffer for candidate in lineage.bases(Role(new)).far()]


def identity(old: Group) -> BufferId:
    return BufferId(old.dtype, old.digest)


def test_a_group_is_compared_with_those_of_its_name_in_order_of_the_versions() -> None:
    new, last, before = group("a", 9), group("a", 1), group("a", 2)
    lineage = Lineage([text(last), text(before, group("b", 3))], tuple, {"a"})
    assert near(lineage, new) == [identity(last), identity(before)]
    assert lineage.bases(Role(new)).near[0].shape == (2, 3)


def test_a_float_of_another_dtype_under_the_name_may_be_what_the_new_one_was_cast_from() -> None:
    lineage = Lineage([text(group("a", 1, "BF16"))], tuple, {"a"})
    assert near(lineage, group("a", 9)) == [identity(group("a", 1, "BF16"))]
    assert lineage.bases(Role(group("a", 9), 0)).near == []


def test_other_numbers_under_the_name_are_nothing_to_compare_with() -> None:
    other_shape = group("a", 1, "BF16", (3, 2))
    for old in (group("a", 1, "I32"), other_shape):
        lineage = Lineage([text(old)], tuple, {"a"})
        assert near(lineage, group("a", 9)) == []


def test_a_group_without_its_name_is_compared_with_those_that_lost_theirs() -> None:
    old = [group("model.b.0.weight", 1), group("model.b.1.weight", 2), group("model.norm", 3)]
    kept = group("b.1.bias", 4)
    lineage = Lineage([text(*old, kept)], tuple, {"b.1.weight", "b.1.bias"})
    assert near(lineage, group("b.1.weight", 9)) == [identity(old[1]), identity(old[0])]


def test_a_renamed_group_has_the_same_dtype_and_shape() -> None:
    old = [group("x.w", 1, "BF16"), group("y.w", 2, shape=(3, 2)), group("z.w", 3)]
    lineage = Lineage([text(*old)], tuple, {"w"})
    assert near(lineage, group("w", 9)) == [identity(old[2])]


def test_far_versions_are_looked_for_once_and_only_when_asked() -> None:
    asked = []

    def older() -> Iterable[bytes]:
        asked.append(1)
        yield from (text(group("a", 1)), text(group("a", 2)))

    lineage = Lineage([text(group("a", 1))], older, {"a"})
    assert near(lineage, group("a", 9)) == [identity(group("a", 1))]
    assert not asked
    assert far(lineage, group("a", 9)) == [identity(group("a", 2))]  # the other one is near
    assert far(lineage, group("a", 9))
    assert asked == [1]


def test_metadata_that_cannot_be_read_is_passed_over() -> None:
    sound = group("a", 1)
    lineage = Lineage([b"git-theta metadata 1\nnonsense\n", text(sound)], tuple, {"a"})
    assert near(lineage, group("a", 9)) == [identity(sound)]
