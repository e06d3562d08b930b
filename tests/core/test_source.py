"""Sources refuse what lies outside of them, and notice a file that shrinks."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_theta.errors import CheckpointError
from git_theta.joined import Joined
from git_theta.source import BytesSource, FileSource, Source
from git_theta.views import swapped, view_source

SIZE = 24
SOURCES: dict[str, Source] = {
    "bytes": BytesSource(bytes(SIZE)),
    "no bytes": BytesSource(b""),
    "window": BytesSource(bytes(100)).window(30, SIZE),
    "joined": Joined([BytesSource(bytes(10)), BytesSource(bytes(14))]),
    "joined nothing": Joined([]),
    "view": view_source(BytesSource(bytes(100)), "F32", (2, 3), 1, (1, 2)),
    "swapped": swapped(BytesSource(bytes(SIZE)), "F32"),
}


@pytest.mark.parametrize("kind", SOURCES)
@given(st.integers(-40, 40), st.integers(-40, 40))
def test_nothing_outside_a_source_is_read(kind: str, offset: int, nbytes: int) -> None:
    source = SOURCES[kind]
    if min(offset, nbytes) >= 0 and offset + nbytes <= source.size:
        assert bytes(source.read(offset, nbytes)) == bytes(nbytes)
        assert source.window(offset, nbytes).size == nbytes
        return
    for function in (source.read, source.window):
        with pytest.raises(CheckpointError, match=f"offset {offset}, found .* {source.size} bytes"):
            function(offset, nbytes)


def test_file_is_read_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 8)
    with path.open("rb") as file:
        source = FileSource(file.fileno())
        assert source.read(300, 5) == bytes(range(44, 49))
        assert b"".join(map(bytes, source.blocks(100))) == path.read_bytes()


def test_file_that_becomes_shorter_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(1000))
    with path.open("rb+") as file:
        source = FileSource(file.fileno())
        file.truncate(600)
        assert source.read(0, 600) == bytes(600)
        with pytest.raises(CheckpointError, match="Expected 500 bytes at offset 400, found 200"):
            source.read(400, 500)


def test_blocks_cover_a_source_once() -> None:
    source = BytesSource(bytes(range(10)))
    assert [bytes(block) for block in source.blocks(4)] == [
        bytes(range(4)),
        bytes(range(4, 8)),
        bytes([8, 9]),
    ]
    assert list(BytesSource(b"").blocks()) == []
