"""Packs are copied by reference where the file system can, and byte by byte elsewhere."""

from __future__ import annotations

import fcntl
import hashlib
from pathlib import Path

import pytest

from git_theta.errors import PackError
from git_theta.storage.folder import PackFolder

DATA = b"a pack" * 1000
NAME = hashlib.sha256(DATA).hexdigest()


@pytest.mark.parametrize("able", [True, False])
def test_a_copy_is_the_pack_and_a_file_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, able: bool
) -> None:
    def ioctl(new: int, request: int, old: int) -> int:
        if not able:
            raise OSError("Operation not supported")
        with open(old, "rb", closefd=False) as source, open(new, "wb", closefd=False) as target:
            target.write(source.read())
        return 0

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    (tmp_path / "file").write_bytes(DATA)
    folder = PackFolder(tmp_path / "store")
    folder.put({NAME: tmp_path / "file"})
    assert folder.path(NAME).read_bytes() == DATA
    assert folder.path(NAME).stat().st_nlink == 1
    (tmp_path / "file").write_bytes(b"other")
    with pytest.raises(PackError):
        PackFolder(tmp_path / "two").put({NAME: tmp_path / "file"})
    assert folder.path(NAME).read_bytes() == DATA


def test_who_may_write_to_a_folder_may_write_to_what_is_not_done_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    (tmp_path / "team").mkdir()
    (tmp_path / "team").chmod(0o2770)
    PackFolder(tmp_path / "team").put({NAME: tmp_path / "file"})
    assert (tmp_path / "team" / "tmp").stat().st_mode & 0o7777 == 0o2770
