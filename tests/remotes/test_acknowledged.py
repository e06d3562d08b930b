"""The record of what a store has acknowledged."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_theta.errors import StoreError
from git_theta.remotes.acknowledged import Acknowledged

PACKS = [f"{number:064x}" for number in range(8)]


def test_packs_are_remembered_by_whoever_opens_the_record_later(tmp_path: Path) -> None:
    record = Acknowledged(tmp_path / "remotes", "file:///store")
    assert PACKS[0] not in record
    record.add(PACKS[:3])
    record.add(PACKS[2:5])
    for opened in (record, Acknowledged(tmp_path / "remotes", "file:///store")):
        assert opened.packs == set(PACKS[:5])
        assert PACKS[4] in opened
        assert PACKS[5] not in opened


def test_stores_have_records_of_their_own(tmp_path: Path) -> None:
    Acknowledged(tmp_path, "file:///one").add(PACKS)
    assert Acknowledged(tmp_path, "file:///two").packs == set()


def test_discarded_packs_are_forgotten(tmp_path: Path) -> None:
    record = Acknowledged(tmp_path, "lfs://origin")
    record.add(PACKS)
    record.discard([PACKS[1], "f" * 64])
    for opened in (record, Acknowledged(tmp_path, "lfs://origin")):
        assert opened.packs == {*PACKS} - {PACKS[1]}
    assert [file.name for file in tmp_path.iterdir()] == [record.path.name]


def test_what_two_processes_add_is_kept_of_both(tmp_path: Path) -> None:
    first, second = Acknowledged(tmp_path, "url"), Acknowledged(tmp_path, "url")
    assert first.packs == second.packs == set()
    first.add(PACKS[:4])
    second.add(PACKS[3:])
    assert Acknowledged(tmp_path, "url").packs == set(PACKS)


@pytest.mark.parametrize("cut", [1, 30, 64])
def test_half_a_line_is_no_pack_and_spoils_none(tmp_path: Path, cut: int) -> None:
    record = Acknowledged(tmp_path, "url")
    record.add(PACKS[:2])
    record.path.write_bytes(record.path.read_bytes()[:-cut])
    again = Acknowledged(tmp_path, "url")
    assert again.packs == {PACKS[0]}
    again.add(PACKS[2:])
    again.add(PACKS[:2])
    assert Acknowledged(tmp_path, "url").packs == set(PACKS)


def test_a_record_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="Cannot"):
        Acknowledged(tmp_path / "file" / "remotes", "url").add(PACKS)
