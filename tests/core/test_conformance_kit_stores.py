"""The kit for stores: what keeps the promises passes, each broken promise is caught."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from kit_runner import checks, run

from git_theta.storage.folder import FolderStoreType, PackFolder
from git_theta.storage.interface import Advance, unwatched
from git_theta.testing import (
    StoreConformance,
)

Files = Mapping[str, Path]


class BrokenFolder(FolderStoreType):
    """Opens folders of a class that breaks one promise."""

    scheme = "broken"

    def __init__(self, folder: type[PackFolder]) -> None:
        self.folder = folder

    def open(self, url: str) -> PackFolder:
        return self.folder(super().open(url.replace("broken:", "file:")).folder)


class FolderKit(StoreConformance):
    memory_bound = 2**24

    def __init__(self, folder: type[PackFolder]) -> None:
        self.store_type = BrokenFolder(folder)

    def url(self, folder: Path) -> str:
        (folder / "store").mkdir(exist_ok=True)
        return (folder / "store").as_uri().replace("file:", "broken:")

    def corrupt(self, folder: Path, pack: str) -> None:
        file = folder / "store" / pack
        file.chmod(0o600)
        file.write_bytes(b"not" + file.read_bytes()[3:])


class Careful(PackFolder):
    """Every promise kept."""


class Blind(PackFolder):
    def missing(self, packs: Any) -> set[str]:
        super().missing(packs)
        return set()


class Amnesiac(PackFolder):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder / hashlib.sha256(str(id(self)).encode()).hexdigest()[:8])
        self.folder.mkdir()


class PutsOnce(PackFolder):
    def put(self, packs: Files, advance: Advance = unwatched) -> None:
        assert super().missing(packs) == set(packs), "put before"
        super().put(packs, advance)


class ReadsWholePacks(PackFolder):
    def get(self, packs: Files, sizes: Any, advance: Advance = unwatched) -> None:
        for pack, file in packs.items():
            file.write_bytes(self.path(pack).read_bytes())


class RaisesKeyErrors(PackFolder):
    def get(self, packs: Files, sizes: Any, advance: Advance = unwatched) -> None:
        if missing := self.missing(packs):
            raise KeyError(min(missing))
        super().get(packs, sizes, advance)


class LeavesAFile(PackFolder):
    def get(self, packs: Files, sizes: Any, advance: Advance = unwatched) -> None:
        unfinished = [file.with_name("unfinished") for file in packs.values()]
        for file in unfinished:
            file.touch()
        super().get(packs, sizes, advance)
        for file in unfinished:
            file.unlink(missing_ok=True)


class ReservesFiles(PackFolder):
    def get(self, packs: Files, sizes: Any, advance: Advance = unwatched) -> None:
        for file in packs.values():
            file.touch()
        super().get(packs, sizes, advance)


class PutsTheFirst(PackFolder):
    def put(self, packs: Files, advance: Advance = unwatched) -> None:
        super().put(dict(list(packs.items())[:1]), advance)


class SkipsWhatFails(PackFolder):
    def put(self, packs: Files, advance: Advance = unwatched) -> None:
        super().put({pack: file for pack, file in packs.items() if file.exists()}, advance)


class Unverified(PackFolder):
    def put(self, packs: Files, advance: Advance = unwatched) -> None:
        for pack, file in packs.items():
            self.path(pack).write_bytes(file.read_bytes())

    def get(self, packs: Files, sizes: Any, advance: Advance = unwatched) -> None:
        super().missing(packs)
        for pack, file in packs.items():
            file.write_bytes(self.path(pack).read_bytes())


class NamesItFirst(PackFolder):
    def put(self, packs: Files, advance: Advance = unwatched) -> None:
        for pack, file in packs.items():
            self.path(pack).touch()
            self.path(pack).write_bytes(file.read_bytes())


class ForgetsToTell(PackFolder):
    def put(self, packs: Files, advance: Advance = unwatched) -> None:
        super().put(packs)


class TellsWhatItSkips(PackFolder):
    def put(self, packs: Files, advance: Advance = unwatched) -> None:
        super().put(packs)
        advance(sum(file.stat().st_size for file in packs.values()))


class AcceptsAnyName(PackFolder):
    def path(self, pack: str) -> Path:
        return self.folder / pack


class OneAtATime(PackFolder):
    busy: bool = False

    def put(self, packs: Files, advance: Advance = unwatched) -> None:
        lock = self.folder / "lock"
        lock.touch(exist_ok=False)
        super().put(packs, advance)
        lock.unlink()


@pytest.mark.parametrize("check", checks(StoreConformance))
def test_sound_store_passes(check: str, tmp_path: Path) -> None:
    run(FolderKit(Careful), check, tmp_path)


@pytest.mark.parametrize(
    ("folder", "check", "error"),
    [
        (Blind, "packs_come_back_exactly", AssertionError),
        (Amnesiac, "packs_come_back_exactly", AssertionError),
        (PutsOnce, "put_again_changes_nothing", AssertionError),
        (PutsTheFirst, "many_packs_are_put_and_got_at_once", AssertionError),
        (ForgetsToTell, "transfers_tell_their_bytes", AssertionError),
        (TellsWhatItSkips, "transfers_tell_their_bytes", AssertionError),
        (ReadsWholePacks, "memory_is_bounded", AssertionError),
        (OneAtATime, "threads_put_and_get_at_once", FileExistsError),
        (RaisesKeyErrors, "unknown_pack_is_missing_and_leaves_no_file", AssertionError),
        (LeavesAFile, "unknown_pack_is_missing_and_leaves_no_file", AssertionError),
        (ReservesFiles, "one_bad_pack_among_many_is_an_error", AssertionError),
        (SkipsWhatFails, "one_bad_pack_among_many_is_an_error", AssertionError),
        (LeavesAFile, "corrupt_pack_is_an_error_and_leaves_no_file", AssertionError),
        (Unverified, "corrupt_pack_is_an_error_and_leaves_no_file", AssertionError),
        (Unverified, "wrong_content_is_never_given_out", AssertionError),
        (NamesItFirst, "failed_put_leaves_nothing", AssertionError),
        (AcceptsAnyName, "invalid_names_are_refused_and_touch_nothing", AssertionError),
    ],
)
def test_broken_store_is_caught(
    folder: type[PackFolder], check: str, error: type[Exception], tmp_path: Path
) -> None:
    with pytest.raises(error):
        run(FolderKit(folder), f"test_{check}", tmp_path)


def test_invalid_urls_must_be_refused(tmp_path: Path) -> None:
    class OpensAnything(FolderStoreType):
        def open(self, url: str) -> Any:
            return PackFolder(tmp_path)

    kit = FolderKit(Careful)
    kit.store_type = OpensAnything()
    with pytest.raises(AssertionError, match="StoreError"):
        kit.test_invalid_urls_are_refused()
