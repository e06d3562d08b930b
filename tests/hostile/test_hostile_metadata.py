"""Metadata and skeletons that lie: each ends in an error of ours, in bounded time and memory."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_packs import RAW, digest, pack_of, put, row

from git_theta.errors import MetadataError, MissingPackError, PackError, ThetaError
from git_theta.metadata import (
    MAX_BYTES,
    MAX_ITEMS,
    Group,
    Metadata,
    PackHint,
    Skeleton,
    StoredBuffer,
    has_conflict,
    normalize,
    parse,
    parse_head,
    print_metadata,
)
from git_theta.plugins import Plugins
from git_theta.smudge import content, rebuild
from git_theta.storage.local import LocalStore
from git_theta.testing.hostile import damaged, truncations
from git_theta.testing.memory import at_most

PLUGINS = Plugins()
MIB = 2**20
NUMBERS = bytes(range(40))
REST = b"skeleton"


def table(
    runs: list[tuple[int, int, int]],
    views: list[tuple[int, int, int, int, int]] = [],  # noqa: B006
    strides: list[int] = [],  # noqa: B006
    counts: tuple[int, int, int] | None = None,
) -> bytes:
    """A table's bytes; runs are (gap, item, flag), views (group, run, runs, offset, flag)."""
    parts = [struct.pack("<3I", *(counts or (len(runs), len(views), len(strides))))]
    for kind, rows in (("QIB", runs), ("IIIQB", views), ("Q", [(s,) for s in strides])):
        for column, code in enumerate(kind):
            parts.append(struct.pack(f"<{len(rows)}{code}", *(r[column] for r in rows)))
    return b"".join(parts)


NUMBERS_ROW = row(
    NUMBERS, parts=[[RAW, "F32", 40, 2048, [40]]], buffers=[["F32", digest(NUMBERS), 40]]
)


class Lie:
    """A store of one skeleton and one buffer, and metadata that describes them."""

    def __init__(self, folder: Path, held: bytes, /, **changes: object) -> None:
        self.folder = folder
        rows = [row(held, parts=[raw_part(held)]), NUMBERS_ROW]
        self.pack = put(folder, pack_of(held + NUMBERS, rows))
        file = REST[:3] + NUMBERS + REST[3:]
        fields: dict[str, object] = {
            "formats": (("unknown", "git-theta-core"),),
            "digest": digest(file),
            "nbytes": len(file),
            "skeleton": Skeleton(digest(held), len(held), 0),
            "groups": (Group("w", "F32", (2, 5), digest(NUMBERS)),),
            "buffers": (),
            "packs": (PackHint(self.pack, 500, (0, 1)),),
        }
        self.metadata = Metadata(**{**fields, **changes})  # type: ignore[arg-type]

    def read(self) -> bytes:
        """The file, through the text of its metadata."""
        metadata = parse(print_metadata(self.metadata), "m.pt")
        with LocalStore(self.folder) as store:
            rebuilt = rebuild(metadata, "m.pt", store=store, plugins=PLUGINS)
            return b"".join(map(bytes, content(rebuilt)))

    def refuse(self, allowance: int = 4 * MIB) -> str:
        """The message of the error that reading ends in."""
        with at_most(allowance, "reading a lie"), pytest.raises(ThetaError) as caught:
            self.read()
        assert "m.pt" in str(caught.value)
        return str(caught.value)


def raw_part(data: bytes) -> list[object]:
    block = 2**21
    lengths = [len(data[at : at + block]) for at in range(0, len(data), block)]
    return [RAW, "U8", len(data), block, lengths]


GOOD = table([(3, 1, 0)]) + REST


def test_metadata_that_the_others_are_made_from_is_right(tmp_path: Path) -> None:
    assert Lie(tmp_path, GOOD).read() == REST[:3] + NUMBERS + REST[3:]


BUFFER = (StoredBuffer("F32", 40, digest(NUMBERS)),)
SHAPE_OF_VIEW = (Group("v", "F32", (2, 3), digest(b"v")), Group("w", "F32", (10,), digest(NUMBERS)))
SKELETONS = {
    "nothing": b"\0",
    "no table": bytes(11),
    "no run": table([]) + REST,
    "four billion runs": table([], counts=(2**32 - 1, 0, 0)) + REST,
    "four billion views": table([(3, 1, 0)], counts=(1, 2**32 - 1, 0)) + REST,
    "four billion strides": table([(3, 1, 0)], counts=(1, 0, 2**32 - 1)) + REST,
    "more runs than bytes": table([], counts=(200_000, 0, 0)) + REST,
    "a run of the skeleton": table([(3, 0, 0)]) + REST,
    "a run of an item that is not there": table([(3, 2, 0)]) + REST,
    "a run of the last item": table([(3, 2**32 - 1, 0)]) + REST,
    "two runs of one item": table([(3, 1, 0), (0, 1, 0)]) + REST,
    "a gap beyond the skeleton": table([(9, 1, 0)]) + REST,
    "a gap beyond everything": table([(2**64 - 1, 1, 0)]) + REST,
    "gaps that wrap around": table([(2**64 - 1, 1, 0), (4, 1, 0)]) + REST,
    "a flag of two": table([(3, 1, 2)]) + REST,
    "another byte order": table([(3, 1, 1)]) + REST,
    "a gap that is too small": table([(2, 1, 0)]) + REST,
    "too little": GOOD[:-1],
    "too much": GOOD + b"\0",
    "a view of a run's item": table([(3, 1, 0)], [(1, 0, 1, 0, 0)]) + REST,
    "strides without a view": table([(3, 1, 0)], [], [1]) + REST,
}


@pytest.mark.parametrize("what", SKELETONS)
def test_skeleton_that_lies_is_refused(tmp_path: Path, what: str) -> None:
    Lie(tmp_path, SKELETONS[what]).refuse()


VIEWS = {
    "no view": ([], []),
    "the view of another": ([(2, 0, 1, 0, 0)], []),
    "a view of no group": ([(3, 0, 1, 0, 0)], []),
    "a view of the skeleton": ([(0, 0, 1, 0, 0)], []),
    "a view twice": ([(1, 0, 1, 0, 0)] * 2, []),
    "no runs": ([(1, 0, 0, 0, 0)], []),
    "too many runs": ([(1, 0, 2, 0, 0)], []),
    "four billion runs": ([(1, 0, 2**32 - 1, 0, 0)], []),
    "a run that is not there": ([(1, 1, 1, 0, 0)], []),
    "the last run": ([(1, 2**32 - 1, 1, 0, 0)], []),
    "an offset beyond the buffer": ([(1, 0, 1, 5, 0)], []),
    "an offset beyond everything": ([(1, 0, 1, 2**64 - 1, 0)], []),
    "a flag of two": ([(1, 0, 1, 0, 2)], [3, 1]),
    "strides beyond the buffer": ([(1, 0, 1, 0, 1)], [8, 1]),
    "strides beyond everything": ([(1, 0, 1, 0, 1)], [2**64 - 1, 2**64 - 1]),
    "strides that wrap around": ([(1, 0, 1, 0, 1)], [2**63, 0]),
    "too few strides": ([(1, 0, 1, 0, 1)], [3]),
    "too many strides": ([(1, 0, 1, 0, 1)], [3, 1, 1]),
}


@pytest.mark.parametrize("what", VIEWS)
def test_view_that_lies_is_refused(tmp_path: Path, what: str) -> None:
    views, strides = VIEWS[what]
    Lie(tmp_path, table([(3, 2, 0)], views, strides) + REST, groups=SHAPE_OF_VIEW).refuse()


def test_view_that_tells_the_truth_is_accepted(tmp_path: Path) -> None:
    for number, (view, strides) in enumerate(
        [((1, 0, 1, 4, 0), []), ((1, 0, 1, 0, 1), [7, 1]), ((1, 0, 1, 9, 1), [0, 0])]
    ):
        skeleton = table([(3, 2, 0)], [view], strides) + REST
        Lie(tmp_path / str(number), skeleton, groups=SHAPE_OF_VIEW).read()


CHANGES: dict[str, dict[str, object]] = {
    "a shape of 2^40": {"groups": (Group("w", "F32", (2**40,), digest(NUMBERS)),)},
    "a shape of 2^126": {"groups": (Group("w", "F32", (2**63 - 1,) * 2, digest(NUMBERS)),)},
    "a small shape": {"groups": (Group("w", "F32", (9,), digest(NUMBERS)),)},
    "no elements": {"groups": (Group("w", "F32", (0, 2**62), digest(NUMBERS)),)},
    "another dtype": {"groups": (Group("w", "I32", (10,), digest(NUMBERS)),)},
    "another digest": {"groups": (Group("w", "F32", (10,), bytes(32)),)},
    "a group without a place": {
        "groups": (
            Group("w", "F32", (2, 5), digest(NUMBERS)),
            Group("x", "F32", (2, 5), digest(NUMBERS)),
        )
    },
    "a buffer without a place": {"buffers": BUFFER},
    "a long file": {"nbytes": 2**63},
    "a short file": {"nbytes": 0},
    "another file": {"digest": bytes(32)},
    "a long skeleton": {"skeleton": Skeleton(digest(GOOD), 2**62, 0)},
    "a short skeleton": {"skeleton": Skeleton(digest(GOOD), 1, 0)},
    "another skeleton": {"skeleton": Skeleton(bytes(32), len(GOOD), 0)},
    "a skeleton that is numbers": {"skeleton": Skeleton(digest(NUMBERS), 40, 0)},
    **{f"cut {n} times": {"skeleton": Skeleton(digest(GOOD), len(GOOD), n)} for n in (1, 2, 3, 4)},
}


@pytest.mark.parametrize("what", CHANGES)
def test_metadata_that_lies_is_refused(tmp_path: Path, what: str) -> None:
    Lie(tmp_path, GOOD, **CHANGES[what]).refuse()


def test_what_is_missing_is_named_with_its_pack(tmp_path: Path) -> None:
    lost = (Group("w", "F32", (2, 5), bytes(32)),)
    packs = (PackHint("e" * 64, 5, (0, 1)),)
    lie = Lie(tmp_path, GOOD, groups=lost, packs=packs)
    with pytest.raises(MissingPackError) as caught:
        lie.read()
    assert f"lacks group 'w', expected in:\n  pack {'e' * 64}" in str(caught.value)
    assert str(tmp_path / "objects") in caught.value.remedy


def test_wrong_numbers_under_a_right_pack_are_named(tmp_path: Path) -> None:
    """The pack's directory says which digest its payload has, and lies."""
    lie = Lie(tmp_path, GOOD)
    (tmp_path / "objects" / lie.pack).unlink()
    pack = put(tmp_path, pack_of(GOOD + NUMBERS[::-1], [row(GOOD), NUMBERS_ROW]))
    lie.metadata = lie.metadata._replace(packs=())
    with pytest.raises(PackError) as caught:
        lie.read()
    assert f"m.pt, group 'w': expected the digest {digest(NUMBERS).hex()}" in str(caught.value)
    assert f"it lies in pack {pack}" in str(caught.value)
    assert "git theta fsck" in caught.value.remedy


def entries(*chunks: tuple[bytes, int]) -> bytes:
    return b"".join(value + struct.pack("<I", nbytes) for value, nbytes in chunks)


LISTS = {
    "a chunk that is not there": entries((bytes(32), 100)),
    "a chunk of another length": entries((digest(GOOD), len(GOOD) + 1)),
    "a chunk of no bytes": entries((digest(GOOD), 0)),
    "a chunk of four gigabytes": entries((digest(GOOD), 2**32 - 1)),
    "half an entry": entries((digest(GOOD), len(GOOD)))[:-1],
    "nothing but": entries(),
}


@pytest.mark.parametrize("what", LISTS)
def test_list_of_chunks_that_lies_is_refused(tmp_path: Path, what: str) -> None:
    data = LISTS[what] or b"\0"
    put(tmp_path, pack_of(GOOD, [row(GOOD)]))
    for cuts in (1, 2, 4):
        Lie(tmp_path, data, skeleton=Skeleton(digest(data), len(data), cuts)).refuse()


def test_list_of_itself_ends(tmp_path: Path) -> None:
    """A list of lists of lists of zeros: short in the pack, petabytes when it is followed."""
    chunk = bytes(36 * 7000)
    first = entries((digest(chunk), len(chunk))) * 7000
    second = entries((digest(first), len(first))) * 29_000
    put(tmp_path, pack_of(chunk, [row(chunk, parts=[raw_part(chunk)])]))
    put(tmp_path, pack_of(first, [row(first, parts=[raw_part(first)])]))
    for data, cuts in ((first, 1), (first, 2), (second, 2), (second, 3), (second, 4)):
        skeleton = Skeleton(digest(data), len(data), cuts)
        Lie(tmp_path, data, skeleton=skeleton, nbytes=2**62).refuse(32 * MIB)


HEAD = f"git-theta metadata 1\nformat x y\nfile {'0' * 64} 5\nskeleton {'0' * 64} 12 0\n"


def refuse_text(text: str | bytes, allowance: int) -> None:
    data = text.encode() if isinstance(text, str) else text
    with at_most(allowance, "parsing hostile text"), pytest.raises(MetadataError):
        parse(data, "m.pt")
    parse_head(data)


def test_few_words_that_name_many_items_are_refused() -> None:
    count = 20_000
    groups = "".join(f"group {n:06} F32 [] {'0' * 64}\n" for n in range(count))
    packs = "".join(f"pack {n:064x} 5 0-{count}\n" for n in range(10_000))
    refuse_text(HEAD + groups + packs, 64 * MIB)
    refuse_text(HEAD + "".join(f"pack {n:064x} 5 0-{10**18}\n" for n in range(1000)), 4 * MIB)


def test_shapes_that_take_long_to_multiply_are_refused() -> None:
    shape = ",".join(["9" * 19] * 10**5)
    refuse_text(HEAD + f"group w F32 [{shape}] {'0' * 64}\n", 64 * MIB)
    shape = ",".join(["9" * 18] * 64)
    refuse_text(HEAD + f"group w F4 [{shape}] {'0' * 64}\n", MIB)


def test_text_and_items_beyond_the_limits_are_refused() -> None:
    refuse_text(HEAD.encode() + bytes(MAX_BYTES), MIB)
    digits = "0" * 64
    too_many = "".join(f"buffer U8 {n} {digits}\n" for n in range(MAX_ITEMS))
    refuse_text(HEAD + too_many, 400 * MIB)


@pytest.mark.parametrize(
    "line",
    [
        "group " + '"' * 100_000,
        "group " + '"' + "[" * 100_000,
        "group " + '"\\u' * 1000,
        "group " + " " * 100_000,
        'group "\\ud83e" F32 [] ' + "g" * 64,
        "pack " + "0" * 64 + " 5 " + "-" * 10_000,
        "pack " + "0" * 64 + " 5 " + ",".join(["1"] * 10_000),
        "buffer F32 " + "9" * 100_000 + " " + "0" * 64,
        "format " * 1000,
        "\u2028" * 100,
        "group a\u2028b F32 [] " + "0" * 64,
    ],
)
def test_line_made_to_confuse_is_refused(line: str) -> None:
    refuse_text(HEAD + line + "\n", 8 * MIB)
    refuse_text(HEAD + line, 8 * MIB)


SAMPLE = print_metadata(
    Metadata(
        (("unknown", "git-theta-core"),),
        digest(b"file"),
        48,
        Skeleton(digest(GOOD), len(GOOD), 0),
        (Group("a b", "F32", (2, 5), digest(NUMBERS)), Group("w", "BF16", (), digest(b"w"))),
        BUFFER,
        (PackHint("ab" * 32, 500, (0, 1, 3)),),
    )
)


def test_damaged_text_is_refused_or_says_something_else() -> None:
    for what, data in (*truncations(SAMPLE), *damaged(SAMPLE, 1500)):
        try:
            found = parse(data, "m.pt")
        except MetadataError:
            continue
        assert print_metadata(found) == data, what
        assert data != SAMPLE, what


@given(st.binary(max_size=300), st.integers(0, len(SAMPLE)))
def test_noise_is_refused(noise: bytes, at: int) -> None:
    for data in (noise, SAMPLE[:at] + noise, SAMPLE[:at] + noise + SAMPLE[at:]):
        for function in (parse, normalize):
            try:
                function(data, "m.pt")
            except MetadataError:
                continue
        parse_head(data)
        has_conflict(data)


def test_damaged_skeletons_are_refused_or_another_file(tmp_path: Path) -> None:
    sample = table([(3, 2, 0)], [(1, 0, 1, 0, 1)], [7, 1]) + REST
    choose = random.Random(1)
    for number, (_, data) in enumerate(damaged(sample, 150)):
        lie = Lie(tmp_path / str(number), data, groups=SHAPE_OF_VIEW)
        if choose.random() < 0.5:  # what the file says of its own length no longer helps
            lie.metadata = lie.metadata._replace(nbytes=choose.randrange(100))
        try:
            with at_most(4 * MIB, "a damaged skeleton"):
                lie.read()
        except ThetaError:
            continue
