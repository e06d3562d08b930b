"""What reading costs is bounded: payloads and bytes for a buffer, memory for a file of any size."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic import clean_file, rebuild_file, synthetic_file

from git_theta import recent as recent_module
from git_theta.metadata import parse
from git_theta.plugins import Plugins
from git_theta.smudge import rebuild
from git_theta.source import FileSource
from git_theta.storage import decode as decode_module
from git_theta.storage import writing as writing_module
from git_theta.storage.decode import Reader
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import MAX_DEPTH, BufferId
from git_theta.testing.blocks import weights

HERE = Path(__file__).parent
MIB = 2**20


def versions(count: int) -> list[bytes]:
    """A file whose skeleton changes a little every time, and whose numbers do not change."""
    choose = random.Random(5)
    text = bytearray(choose.randbytes(30_000).hex().encode())
    sizes = [4, 8, 60, 1000, 1900, 2047, 2048, 5000, 9000, 15_000, 40_000]
    arrays = [weights("F32", size // 4 * 4, seed=size) for size in sizes]
    buffers = [("F32", b"", False, data) for data in arrays]
    files = []
    for _ in range(count):
        at = choose.randrange(len(text))
        text[at : at + 40] = choose.randbytes(choose.randrange(80)).hex().encode()
        files.append(synthetic_file(buffers, [], bytes(text)))
    return files


def test_reading_a_buffer_takes_few_payloads_and_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, texts = versions(30), []
    with LocalStore(tmp_path) as store:
        for file in files:
            texts.append(clean_file(file, store, previous=texts[-1] if texts else None))
    spent = 0
    plain = FileSource._read

    def counted(self: FileSource, offset: int, nbytes: int) -> bytes:
        nonlocal spent
        spent += nbytes
        return plain(self, offset, nbytes)

    monkeypatch.setattr(FileSource, "_read", counted)
    depths = []
    with LocalStore(tmp_path) as store:
        packs = [store.pack(name) for name in sorted(store.packs.packs())]
        assert sum(map(len, packs)) > 30  # all directories are read now
        for pack in packs:
            for number in range(len(pack)):
                payload = pack.payload(number)
                depths.append(payload.depth)
                for identity, nbytes in payload.buffers:
                    spent = 0
                    source = Reader(store, Plugins()).open(identity)
                    source.read(0, nbytes)
                    assert 0 < spent <= 2 * nbytes + 4096
                    if len(payload.buffers) == 1:
                        assert spent <= payload.cost
        for file, text in zip(files, texts, strict=True):
            skeleton = parse(text).skeleton
            location = store.find([BufferId("U8", skeleton.digest)])
            assert location[BufferId("U8", skeleton.digest)][0].depth <= MAX_DEPTH
            assert rebuild_file(text, store) == file
        stored = sum(store.packs.path(name).stat().st_size for name in store.packs.packs())
    assert max(depths) == MAX_DEPTH
    assert stored < 5 * len(files[0])


def test_patch_never_stands_on_damaged_bytes(tmp_path: Path) -> None:
    """Noise is stored as it is: a flipped byte of the base decodes without complaint."""
    noise = random.Random(6).randbytes(60_000)
    files = [noise, noise[:30_000] + b"second" + noise[30_000:], noise + b"third"]
    with LocalStore(tmp_path) as store:
        first = clean_file(files[0], store)
        (name,) = store.packs.packs()
        path = store.packs.path(name)
        sound = path.read_bytes()
        at = sound.index(noise[1000:1100])
        path.chmod(0o644)
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])
        second = clean_file(files[1], store, previous=first)
        assert rebuild_file(second, store) == files[1]
        path.write_bytes(sound)
        third = clean_file(files[2], store, previous=first)
        for file, text in zip(files, (first, second, third), strict=True):
            assert rebuild_file(text, store) == file
        skeletons = [BufferId("U8", parse(text).skeleton.digest) for text in (second, third)]
        assert [store.find([i])[i][0].depth for i in skeletons] == [1, 2]


def test_few_decoded_blocks_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_module, "recent", recent_module.Recent())
    monkeypatch.setattr(recent_module, "RECENT_BYTES", 150_000)
    arrays = [weights("F32", 40_000 + n * 4, seed=n) for n in range(20)]
    file = synthetic_file([("F32", b"", False, data) for data in arrays], [])
    with LocalStore(tmp_path) as store:
        metadata = parse(clean_file(file, store))
        rebuilt = rebuild(metadata, "model.bin", store=store, plugins=Plugins())
        sources = list(rebuilt.sources.values())
        whole = {bytes(source.read(0, source.size)) for source in sources}
        assert whole == set(arrays)
        assert len(decode_module.recent._blocks) <= 1  # the skeleton
        for _ in range(2):
            parts = [bytes(source.read(5000, 100)) for source in sources]
        assert set(parts) == {data[5000:5100] for data in arrays}
    kept = [len(data) for data in decode_module.recent._blocks.values()]
    assert len(kept) == 3
    assert decode_module.recent._nbytes == sum(kept) <= 150_000


def test_packs_end_at_their_size_and_at_that_of_their_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing_module, "PACK_BYTES", 100_000)
    arrays = [random.Random(n).randbytes(40_000 + n) for n in range(9)]
    file = synthetic_file([("U8", b"", False, data) for data in arrays], [])
    with LocalStore(tmp_path / "small") as store:
        assert rebuild_file(clean_file(file, store), store) == file
        assert len(store.packs.packs()) >= 3
    monkeypatch.setattr(writing_module, "PACK_BYTES", 2**30)
    monkeypatch.setattr(writing_module, "DIRECTORY_BYTES", 1)
    with LocalStore(tmp_path / "rows") as store:
        text = clean_file(file, store)
        assert rebuild_file(text, store) == file
        assert all(len(store.pack(name)) == 1 for name in store.packs.packs())


SCRIPT = """
import sys
from pathlib import Path
from synthetic import clean_file, plugins
from git_theta.metadata import parse
from git_theta.smudge import content, rebuild
from git_theta.source import FileSource
from git_theta.storage.local import LocalStore
path, out, folder = sys.argv[1:]
with open(path, "rb") as file, LocalStore(Path(folder)) as store:
    text = clean_file(FileSource(file.fileno()), store)
with LocalStore(Path(folder)) as store, open(out, "wb") as file:
    for data in content(rebuild(parse(text), "x", store=store, plugins=plugins())):
        file.write(data)
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="it tells the peak of memory")
@pytest.mark.parametrize(
    ("count", "dtype", "threads", "limit"),
    [
        pytest.param(1, "F32", 2, 200, id="one group"),
        pytest.param(150, "F32", 2, 200, id="many groups"),
        pytest.param(0, "", 2, 200, id="unknown"),
        pytest.param(1, "F64", 8, 480, id="eight threads"),
    ],
)
def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, count: int, dtype: str, threads: int, limit: int
) -> None:
    """The file is sparse, so that it costs the disk little; to us its bytes are like any.

    The peak of resident memory is the process's own; getrusage would tell pytest's if that is more.
    """
    path, out = tmp_path / "file", tmp_path / "out"
    size = 300 * MIB
    each = size // max(1, count)
    elements = each // (8 if dtype == "F64" else 4)
    rows = [[dtype, at * each, each, False] for at in range(count)]
    tensors = [[f"w{n:03}", dtype, [elements], n, 0, None] for n in range(count)]
    head = synthetic_head(rows, tensors) if count else b"unknown"
    with path.open("wb") as file:
        file.write(head)
        for at in range(0, size, 2 * MIB):  # every 2 MiB are others, half of them holes
            file.seek(len(head) + at)
            file.write(random.Random(at).randbytes(64) * 2**13)
        file.truncate(len(head) + size)
    environment = {**os.environ, "PYTHONPATH": str(HERE), "GIT_THETA_THREADS": str(threads)}
    command = [sys.executable, "-c", SCRIPT, str(path), str(out), str(tmp_path / "store")]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) < limit * 1024
    subprocess.run(["cmp", str(path), str(out)], check=True)


def synthetic_head(rows: list[list[object]], tensors: list[list[object]]) -> bytes:
    header = json.dumps([rows, tensors]).encode()
    return b"SYNTHETIC" + len(header).to_bytes(8, "little") + header
