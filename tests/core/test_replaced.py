"""Which files of the work tree stay open until another version takes their place."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from synthetic import clean_file, synthetic_file

from git_theta.digests import digest
from git_theta.git import replaced as replaced_module
from git_theta.git.received import open_file
from git_theta.git.replaced import Replaced
from git_theta.storage.local import LocalStore
from git_theta.storage.proven import Proven
from git_theta.testing.blocks import weights

KIB = 2**10


class Tree:
    """Files that were compared, and what is at hand of them."""

    def __init__(self, folder: Path, store: LocalStore) -> None:
        self.folder, self.store = folder, store
        self.proven = Proven(folder / "proven")
        self.replaced = Replaced(self.proven)

    def keep(self, name: str, numbers: bytes, *, true: bool = True) -> Path:
        """Write a file with one group, and have it compared; gives its path."""
        file = self.folder / name
        group = ("weight", "F32", (len(numbers) // 4,), 0, 0, None)
        file.write_bytes(synthetic_file([("F32", b"head", False, numbers)], [group]))
        text = clean_file(file.read_bytes(), self.store)
        if true:
            self.proven.add(text)
        with open_file(file) as received:
            self.replaced.keep(name, text, received)
        return file

    def at_hand(self, name: str) -> list[bytes]:
        """Digests of the buffers that are at hand, of what can be read there."""
        with self.replaced.buffers(name, self.store) as found:
            return [digest(source) for source in found.values()]


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    with LocalStore(tmp_path / "theta") as store:
        made = Tree(tmp_path, store)
        yield made
        made.replaced.close()


@pytest.fixture
def opened() -> Callable[[], int]:
    """Counts the files of the work tree that are open now."""
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("this system does not tell what is open")

    def count() -> int:
        targets = (os.readlink(link) for link in folder.iterdir() if link.is_symlink())
        return sum(".bin" in target for target in targets)

    return count


def test_a_file_can_be_read_once_when_its_name_is_gone(tree: Tree) -> None:
    numbers = weights("F32", 4 * KIB)
    tree.keep("m.bin", numbers).unlink()
    (found,) = tree.at_hand("m.bin")
    assert len(found) == 32
    assert tree.at_hand("m.bin") == []


def test_a_text_that_was_not_proven_says_nothing(tree: Tree) -> None:
    tree.keep("m.bin", weights("F32", 4 * KIB), true=False)
    assert tree.at_hand("m.bin") == []


def test_nothing_is_at_hand_of_a_file_that_was_written_to(tree: Tree) -> None:
    file = tree.keep("m.bin", weights("F32", 4 * KIB))
    before = file.stat()
    with file.open("r+b") as written:
        written.write(b"other")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert tree.at_hand("m.bin") == []


def test_what_was_compared_last_takes_the_place_of_what_was_before(
    tree: Tree, opened: Callable[[], int]
) -> None:
    tree.keep("m.bin", weights("F32", 4 * KIB)).unlink()
    tree.keep("m.bin", weights("F32", 4 * KIB, seed=1))
    assert opened() == 1
    tree.keep("other.bin", weights("F32", 4 * KIB, seed=1))
    assert tree.at_hand("m.bin") == tree.at_hand("other.bin") != []


def test_few_files_stay_open_where_a_process_may_open_few(
    tree: Tree, opened: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaced_module, "SHARE", os.sysconf("SC_OPEN_MAX") // 3)
    for number in range(5):
        tree.keep(f"{number}.bin", weights("F32", 4 * KIB, seed=number))
    assert opened() == 3
    tree.replaced.close()
    assert opened() == 0


def test_little_metadata_is_held(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaced_module, "TEXTS", KIB)
    for number in range(8):
        tree.keep(f"{number}.bin", weights("F32", 4 * KIB, seed=number))
    kept = [number for number in range(8) if tree.at_hand(f"{number}.bin")]
    assert kept == list(range(len(kept)))
    assert 1 < len(kept) < 8
