"""What a buffer may stand on: never too deep, never damaged, never itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from synthetic import clean_file, rebuild_file, synthetic_file

from git_theta import table as table_module
from git_theta.digests import digest
from git_theta.plugins import Plugins
from git_theta.source import BytesSource, FileSource
from git_theta.storage.decode import Reader
from git_theta.storage.folder import PackFolder
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import MAX_DEPTH, BufferId
from git_theta.updates import hold as hold_module
from git_theta.updates.grounds import Candidate, Grounds
from git_theta.updates.hold import hold


def steps(count: int, size: float, *, rows: int = 200) -> list[np.ndarray]:
    """Versions of a matrix, each a small step from the one before."""
    rng = np.random.default_rng(3)
    found = [rng.normal(0, 0.02, (rows, 100)).astype("<f4")]
    while len(found) < count:
        found.append(found[-1] + rng.normal(0, size, (rows, 100)).astype("<f4"))
    return found


def file_of(matrix: np.ndarray) -> bytes:
    dtype, shape = {"f": "F32"}[matrix.dtype.kind], list(matrix.shape)
    return synthetic_file(
        [(dtype, b"", False, matrix.tobytes())], [("w", dtype, shape, 0, 0, None)]
    )


def identity(matrix: np.ndarray) -> BufferId:
    return BufferId("F32", digest(BytesSource(matrix.tobytes())))


@pytest.mark.parametrize("size", [1e-8, 1e-6, 1e-4])
def test_chains_stay_short_and_cheap_however_many_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: float
) -> None:
    matrices, texts = steps(20, size), []
    with LocalStore(tmp_path) as store:
        for matrix in matrices:
            texts.append(clean_file(file_of(matrix), store, previous=texts[-1] if texts else None))
    spent = 0
    plain = FileSource._read

    def counted(self: FileSource, offset: int, nbytes: int) -> bytes:
        nonlocal spent
        spent += nbytes
        return plain(self, offset, nbytes)

    depths = []
    with LocalStore(tmp_path) as store:
        for name in store.packs.packs():
            assert len(store.pack(name))  # reads its directory
        monkeypatch.setattr(FileSource, "_read", counted)
        for matrix in matrices:
            buffer = identity(matrix)
            (location,) = store.find([buffer])[buffer]
            depths.append(location.depth)
            spent = 0
            source = Reader(store, Plugins()).open(buffer)
            assert bytes(source.read(0, source.size)) == matrix.tobytes()
            assert spent <= 2 * matrix.nbytes + 4096
        monkeypatch.undo()
        for matrix, text in zip(matrices, texts, strict=True):
            assert rebuild_file(text, store) == file_of(matrix)
    assert 1 < max(depths) <= MAX_DEPTH


def test_a_damaged_base_is_not_stood_on(tmp_path: Path) -> None:
    """What is delta-coded against wrong bytes is lost when the right ones come back."""
    first, second = steps(2, 1e-6)
    with LocalStore(tmp_path) as store:
        text = clean_file(file_of(first), store)
        (name,) = store.packs.packs()
        path = store.packs.path(name)
        sound = path.read_bytes()
        payload = next(
            p for p in map(store.pack(name).payload, (0, 1)) if p.buffers[0][0][0] == "F32"
        )
        at = payload.start + payload.nbytes - 4000  # a mantissa, which is stored as it is
        path.chmod(0o644)
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])
        again = clean_file(file_of(second), store, previous=text)
        assert store.find([identity(second)])[identity(second)][0].depth == 1
        assert rebuild_file(again, store) == file_of(second)


def test_a_base_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    first, second = steps(2, 1e-6)
    with LocalStore(tmp_path / "other") as store:
        text = clean_file(file_of(first), store)
    with LocalStore(tmp_path / "store") as store:
        again = clean_file(file_of(second), store, previous=text)
        assert rebuild_file(again, store) == file_of(second)


def test_a_buffer_that_is_no_groups_whole_value_stands_on_what_it_was(tmp_path: Path) -> None:
    """Two views look at one buffer, as where training keeps all parameters in a flat one."""
    first, second = steps(2, 1e-6)
    views = [("b", "F32", [100, 200], 0, 0, [1, 100]), ("a", "F32", [50], 0, 100, None)]
    files = [synthetic_file([("F32", b"", False, m.tobytes())], views) for m in (first, second)]
    with LocalStore(tmp_path) as store:
        text = clean_file(files[0], store)
        again = clean_file(files[1], store, previous=text)
        assert store.find([identity(second)])[identity(second)][0].depth == 2
        assert [rebuild_file(made, store) for made in (text, again)] == files


def test_the_parts_of_a_long_buffer_stand_on_what_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_module, "RUN_BYTES", 40_000)
    first, second = steps(2, 1e-6)
    with LocalStore(tmp_path) as store:
        text = clean_file(file_of(first), store)
        again = clean_file(file_of(second), store, previous=text)
        runs = [identity(second[:100]), identity(second[100:])]
        assert [store.find([run])[run][0].depth for run in runs] == [2, 2]
        assert rebuild_file(again, store) == file_of(second)


def test_the_buffer_itself_and_other_dtypes_are_no_ground(tmp_path: Path) -> None:
    first, _ = steps(2, 1e-6)
    with LocalStore(tmp_path) as store:
        clean_file(file_of(first), store)
        candidates = [Candidate(identity(first)), Candidate(BufferId("BF16", bytes(32)))]
        same = Grounds(store, Plugins(), identity(first), first.nbytes)
        assert not list(same.find(candidates))
        other = Grounds(store, Plugins(), BufferId("F32", bytes(32)), first.nbytes)
        (ground,) = other.find(candidates)
        assert ground.numbers.shape == (first.size,)  # no shape was known
        assert ground.cost == sum(ground.payloads.values()) > 0


def test_a_long_run_is_held_in_a_file_that_has_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hold_module, "HELD", 1000)
    data = np.random.default_rng(0).bytes(5_000_000)
    held = hold(BytesSource(data), PackFolder(tmp_path))
    assert isinstance(held, FileSource)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert held.size == len(data)
    assert bytes(held.read(0, held.size)) == data
    assert bytes(held.read(4_999_000, 1000)) == data[-1000:]


def test_what_was_found_is_not_decoded_again(tmp_path: Path) -> None:
    first, _ = steps(2, 1e-6)
    with LocalStore(tmp_path) as store:
        clean_file(file_of(first), store)
        grounds = Grounds(store, Plugins(), BufferId("F32", bytes(32)), first.nbytes)
        near, far = (Candidate(identity(first), origin=number) for number in (0, 7))
        (one,), (other,) = grounds.find([near]), grounds.find([far])
        assert one.base is other.base
        assert (one.origin, other.origin) == (0, 7)
