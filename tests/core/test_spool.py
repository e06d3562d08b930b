"""What is kept aside comes back, and takes a bounded part of memory, however many files it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from git_theta.git import spool as spool_module
from git_theta.git.spool import Spool
from git_theta.source import BytesSource


def test_short_files_take_no_more_memory_together_than_one_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "IN_MEMORY", 100)
    spool = Spool(tmp_path / "tmp")
    contents = [bytes([n]) * 40 for n in range(4)]
    kept = [spool.keep(iter([content[:7], content[7:]]), 40) for content in contents]
    assert [bytes(source.read(0, source.size)) for source in kept] == contents
    assert [isinstance(source, BytesSource) for source in kept] == [True, True, False, False]
    spool.close()
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("memory", [0, 100])
def test_blocks_that_are_there_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    """As what a checkout computes in other processes."""
    monkeypatch.setattr(spool_module, "IN_MEMORY", memory)
    room = bytearray(5)

    def blocks() -> Iterator[memoryview]:
        for text in (b"first", b"other"):
            room[:] = text
            with memoryview(room) as view:
                yield view

    with closing(Spool(tmp_path / "tmp")) as spool:
        kept = spool.keep(blocks(), 10)
        assert kept.read(0, 10) == b"firstother"
