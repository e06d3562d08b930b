"""Locks on a store: shared by all who use it, alone for who takes packs away."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_theta.storage.local import LocalStore
from git_theta.storage.lock import FileLock


def test_a_shared_lock_keeps_others_from_being_alone(tmp_path: Path) -> None:
    one, two, three = (FileLock(tmp_path / "lock") for _ in range(3))
    one.share()
    two.share()
    assert not three.alone()
    one.close()
    assert not three.alone(0.1)
    two.close()
    assert three.alone()
    three.close()
    three.close()


def test_who_does_not_get_to_be_alone_holds_it_as_before(tmp_path: Path) -> None:
    one, two = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    one.share()
    two.share()
    assert not one.alone()
    assert not two.alone(), "the other one still holds it"
    one.close()
    assert two.alone()
    two.close()


def test_a_lock_without_a_file_is_no_lock(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "no folder" / "lock")
    lock.share()
    assert not lock.alone()
    lock.close()


def test_who_was_alone_shares_again(tmp_path: Path) -> None:
    with LocalStore(tmp_path) as store:
        with store.alone(0) as alone:
            assert alone
        with LocalStore(tmp_path), store.alone(0) as alone:
            assert not alone
        with store.alone(0) as alone:
            assert alone


def test_where_files_cannot_be_locked_nobody_is_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    lock = FileLock(tmp_path / "lock")
    lock.share()
    assert not lock.alone()
    lock.close()
    missing = FileLock(tmp_path / "no such folder" / "lock")
    missing.share()
    assert not missing.alone()
    missing.close()
