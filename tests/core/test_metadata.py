"""Metadata is printed and parsed the one valid way; every other text is refused."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_theta.dtypes import BITS
from git_theta.errors import ConflictError, MetadataError
from git_theta.metadata import (
    Group,
    Metadata,
    PackHint,
    Skeleton,
    StoredBuffer,
    has_conflict,
    looks_like_metadata,
    normalize,
    parse,
    parse_head,
    print_metadata,
)
from git_theta.metadata_fields import quote

DIGESTS = st.binary(min_size=32, max_size=32)
DTYPES = st.sampled_from(sorted(BITS))
WORDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
NUMBERS = st.integers(0, 2**63 - 1)
WHOLE_BYTES = sorted(dtype for dtype, bits in BITS.items() if bits >= 8)


def one_spelling(name: str) -> bool:
    """Whether no character of a name is spelled as two surrogates."""
    return name == name.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


NAMES = st.one_of(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1),
    st.text(st.sampled_from('ab "\\\n\r\t\x00\x7f\x85\u2028\u202eéö权\U0001fae8\ud83e\udee8')),
    st.text(st.characters(codec=None)),
).filter(one_spelling)
GROUPS = st.builds(
    Group, NAMES, st.sampled_from(WHOLE_BYTES), st.lists(NUMBERS, max_size=4).map(tuple), DIGESTS
)


@st.composite
def stored_buffers(draw: st.DrawFn) -> StoredBuffer:
    dtype = draw(DTYPES)
    return StoredBuffer(
        dtype, draw(st.integers(0, 2**40)) * max(1, BITS[dtype] // 8), draw(DIGESTS)
    )


@st.composite
def metadata(draw: st.DrawFn) -> Metadata:
    groups = sorted(draw(st.lists(GROUPS, max_size=5, unique_by=lambda group: group.name)))
    buffers = sorted(draw(st.sets(stored_buffers(), max_size=3)))
    count = 1 + len(groups) + len(buffers)
    items = st.sets(st.integers(0, count - 1), min_size=1).map(lambda some: tuple(sorted(some)))
    hints = draw(
        st.lists(
            st.builds(PackHint, DIGESTS.map(bytes.hex), NUMBERS, items),
            max_size=4,
            unique_by=lambda hint: hint.pack,
        )
    )
    return Metadata(
        tuple(draw(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3))),
        draw(DIGESTS),
        draw(NUMBERS),
        Skeleton(draw(DIGESTS), draw(NUMBERS), draw(st.integers(0, 4))),
        tuple(groups),
        tuple(buffers),
        tuple(sorted(hints, key=lambda hint: (hint.items, hint.pack))),
    )


SAMPLE = Metadata(
    (("zip", "git-theta-core"), ("npy", "git-theta-core")),
    bytes(range(32)),
    1000,
    Skeleton(bytes(32), 250, 0),
    (
        Group("", "F32", (), bytes([1] * 32)),
        Group("a.weight", "BF16", (12, 30), bytes([2] * 32)),
        Group("two words", "I64", (0,), bytes([3] * 32)),
    ),
    (StoredBuffer("F32", 120, bytes([4] * 32)), StoredBuffer("U8", 3, bytes([5] * 32))),
    (PackHint("ab" * 32, 700, (0, 1, 2, 3, 5)), PackHint("cd" * 32, 44, (4,))),
)
TEXT = print_metadata(SAMPLE)


@given(metadata())
def test_metadata_comes_back_from_its_text(value: Metadata) -> None:
    text = print_metadata(value)
    assert parse(text) == value
    assert normalize(text.replace(b"\n", b"\r\n"), "x") == text
    head = parse_head(text)
    assert head is not None
    assert (head.formats, head.digest, head.nbytes, head.skeleton) == (
        value.formats,
        value.digest,
        value.nbytes,
        value.skeleton,
    )


@given(NAMES)
def test_name_stands_in_one_field_of_printable_ascii(name: str) -> None:
    text = quote(name)
    assert text.isascii()
    assert text.isprintable()
    assert " " not in text or text.startswith('"')
    assert (text == name) == (name != "" and all("!" <= c <= "~" and c not in '"\\' for c in name))


@given(st.randoms(use_true_random=False), st.integers(0, 7))
def test_any_other_text_of_a_content_is_refused(choose: random.Random, kind: int) -> None:
    """Whatever is changed, the text is refused or says something else."""
    lines = TEXT.decode().split("\n")[:-1]
    at = choose.randrange(len(lines))
    line = lines[at]
    if kind == 0:
        other = choose.randrange(len(lines))
        lines[at], lines[other] = lines[other], line
    elif kind == 1:
        lines.insert(at, line)
    elif kind == 2:
        spot = choose.randrange(len(line) + 1)
        lines[at] = line[:spot] + choose.choice(" \t\u00a0\v\f") + line[spot:]
    elif kind == 3:
        spot = choose.choice([n for n, c in enumerate(line) if c.isdigit()] or [len(line)])
        lines[at] = line[:spot] + choose.choice(("0", "+", "_", "\u0660")) + line[spot:]
    elif kind == 4:
        lines.insert(at, "")
    elif kind == 5:
        lines[at] = line.upper() if choose.random() < 0.5 else line.title()
    elif kind == 6:
        lines.insert(at, choose.choice(("comment", "group", "pack ", "format a", "buffer F32 4")))
    else:
        del lines[at]
    text = "\n".join([*lines, ""]).encode()
    if text == TEXT:
        return
    try:
        found = parse(text)
    except MetadataError:
        return
    assert found != SAMPLE
    assert print_metadata(found) == text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1000\n", "01000\n"),
        (" 1000\n", " -1\n"),
        (" 1000\n", " 1e3\n"),
        (" 250 0\n", " 250 5\n"),
        (" 250 0\n", " 250\n"),
        ('group ""', 'group "\\u0061"'),
        ('"two words"', '"two\\u0020words"'),
        ('"two words"', '"two words'),
        ('"two words"', '"two\\/words"'),
        ("a.weight", '"a.weight"'),
        ("a.weight", "größe"),
        ("a.weight", '"gr\\u00F6"'),
        ("a.weight", "two words"),
        ("BF16", "bf16"),
        ("BF16", "F33"),
        ("[12,30]", "[12, 30]"),
        ("[12,30]", "[12,30,]"),
        ("[12,30]", "[012,30]"),
        ("[12,30]", "[-12,30]"),
        ("[12,30]", "[99999999999999999999]"),
        ("[12,30]", f"[{','.join(['1'] * 65)}]"),
        ("F32 120 ", "F32 121 "),
        ("0-3,5", "0,1-3,5"),
        ("0-3,5", "0-3,5-5"),
        ("0-3,5", "5,0-3"),
        ("0-3,5", "0-3,6"),
        ("0-3,5", "0-3,3-5"),
        ("0-3,5", ""),
        ("0-3,5", "3-0"),
        ("0-3,5", "0-99999999999999"),
        ("ab" * 32, "AB" * 32),
        ("ab" * 32, "cd" * 32),
        ("ab" * 32, "../../../../etc/passwd"),
        ("git-theta metadata 1\n", "git-theta metadata 2\n"),
        ("git-theta metadata 1\n", "git-theta metadata 1 \n"),
        ("format zip git-theta-core\n", "format zip git theta-core\n"),
        ("format zip git-theta-core\n", "format ../zip git-theta-core\n"),
    ],
)
def test_text_that_is_not_canonical_is_refused(old: str, new: str) -> None:
    text = TEXT.decode().replace(old, new, 1).encode()
    assert text != TEXT
    with pytest.raises(MetadataError, match=r"^x\.pt: "):
        parse(text, "x.pt")


@pytest.mark.parametrize("items", ["4", "4-5", "5"])
def test_pack_that_is_named_twice_is_refused(items: str) -> None:
    with pytest.raises(MetadataError):
        parse(TEXT + f"pack {'cd' * 32} 44 {items}\n".encode())


def test_every_beginning_of_metadata_is_refused() -> None:
    for length in range(len(TEXT)):
        if not (TEXT[:length].endswith(b"\n") and b"\nskeleton" in TEXT[: length - 1]):
            with pytest.raises(MetadataError):
                parse(TEXT[:length])


def test_refusal_names_file_line_and_remedy() -> None:
    with pytest.raises(MetadataError, match=r"a b\.pt.*line 7") as caught:
        parse(TEXT.replace(b"a.weight", b'"a.weight"'), "a b.pt")
    assert caught.value.remedy.splitlines() == [
        "Restore it from git: git checkout HEAD -- 'a b.pt'",
        "If a newer git-theta wrote it: pip install --upgrade git-theta",
    ]
    with pytest.raises(MetadataError, match="version 1, found 'git-theta metadata 2'") as caught:
        parse(b"git-theta metadata 2\nnew words\n", "x")
    assert "pip install --upgrade git-theta" in caught.value.remedy


def test_metadata_of_any_version_is_recognized() -> None:
    assert looks_like_metadata(TEXT[:64])
    assert looks_like_metadata(memoryview(b"git-theta metadata 3\n"))
    assert not looks_like_metadata(b"git-theta")
    assert parse_head(b"git-theta metadata 2\n") is None
    assert parse_head(TEXT[:60]) is None


@pytest.mark.parametrize("marker", ["<<<<<<< HEAD", "=======", ">>>>>>> other", "||||||| base"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_conflict_markers_are_seen(marker: str, end: str) -> None:
    text = TEXT.replace(b"group a", f"{marker}{end}group a".encode())
    assert has_conflict(text)
    with pytest.raises(ConflictError, match=r"m\.pt") as caught:
        normalize(text, "m.pt")
    assert "git checkout --ours -- m.pt" in caught.value.remedy


@given(NAMES)
def test_no_name_looks_like_a_conflict_marker(name: str) -> None:
    assert not has_conflict(f"group {quote(name)} F32 [] {'0' * 64}\n".encode())
