"""Checkpoints as Orbax compresses them: seen, shared; and what cannot be looked into."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax_oracle as oracle
import numpy as np
import orbax.checkpoint as ocp
import pytest
import zstandard
from safetensors.numpy import save_file

from git_theta.clean import Cleaned, Cleaning, clean
from git_theta.digests import digest
from git_theta.formats.detect import detect
from git_theta.metadata import parse
from git_theta.plugins import installed
from git_theta.source import BytesSource
from git_theta.storage.local import LocalStore
from git_theta.testing.memory import at_most
from made_frames import HEADER, RLE, block

Repository = Any  # of tests/conftest.py
KINDS = {
    "zarr": {"use_ocdbt": False},
    "zarr3": {"use_ocdbt": False, "use_zarr3": True},
    "ocdbt": {},
    "ocdbt3": {"use_zarr3": True},
}


@pytest.fixture
def repo(make_repo: Callable[[str], Repository]) -> Repository:
    made = make_repo("repo")
    made.git("theta", "install", "--local")
    return made


def save(folder: Path, content: Any, **options: Any) -> None:
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(**options)) as checkpointer:
        checkpointer.save(folder, content, force=True)


def weights(seed: int, rows: int = 600) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal((rows, 500), np.float32)


def stored(repo: Repository) -> int:
    packs = (repo.path / ".git/theta/objects").glob("?" * 64)
    return sum(pack.stat().st_size for pack in packs)


def commit(repo: Repository) -> int:
    """Commit everything; the bytes that this stored."""
    before = stored(repo)
    repo.git("add", "--all")
    repo.git("commit", "--quiet", "--message", "Version")
    assert repo.git("status", "--porcelain") == ""
    return stored(repo) - before


def shown(repo: Repository, path: str) -> dict[str, str]:
    found = json.loads(repo.git("theta", "show", path, "--json"))
    return {group["name"]: group["blake3"] for group in found["groups"]}


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_shared_with_files_that_have_them_raw(kind: str, repo: Repository) -> None:
    content = {"a": weights(1), "b": {"c": weights(2)}}
    save_file({"a": content["a"], "b.c": content["b"]["c"]}, repo.path / "model.safetensors")
    save(repo.path / "ckpt", content, **KINDS[kind])
    repo.git("theta", "track", "*.safetensors")
    repo.git("add", ".gitattributes", "*.safetensors")
    repo.git("commit", "--quiet", "--message", "Raw")
    repo.git("theta", "track", "ckpt/")
    assert commit(repo) < 12_000  # recipes and skeletons
    assert shown(repo, "ckpt") == shown(repo, "model.safetensors")
    assert "unknown" not in repo.git("theta", "ls-files")


@pytest.mark.parametrize("kind", KINDS)
def test_what_did_not_change_is_not_stored_again(kind: str, repo: Repository) -> None:
    content = {f"{n}": weights(n) for n in range(4)}
    save(repo.path / "ckpt", content, **KINDS[kind])
    repo.git("theta", "track", "ckpt/")
    assert commit(repo) > 3_900_000
    content["2"][0] += 1
    save(repo.path / "ckpt", content, **KINDS[kind])
    assert commit(repo) < 20_000
    names = [n for n, value in shown(repo, "HEAD:ckpt").items()]
    before = shown(repo, "HEAD~1:ckpt")
    assert [n for n in names if before[n] != shown(repo, "HEAD:ckpt")[n]] == ["2"]


def test_a_clone_without_the_plugin_gets_the_very_bytes(
    repo: Repository, make_repo: Callable[[str], Repository]
) -> None:
    """The kernel makes frames by itself, from what the metadata and a store say."""
    save(repo.path / "ckpt", {"a": weights(1), "b": weights(2)})
    repo.git("theta", "track", "ckpt/")
    commit(repo)
    files = {
        path.relative_to(repo.path): path.read_bytes()
        for path in (repo.path / "ckpt").rglob("*")
        if path.is_file()
    }
    for path, data in files.items():
        blob = ["git", "cat-file", "blob", f"HEAD:{path}"]
        text = subprocess.run(blob, cwd=repo.path, capture_output=True, check=True).stdout
        if not text.startswith(b"git-theta"):
            continue
        command = (
            "import sys; from pathlib import Path;"
            "from git_theta.metadata import parse; from git_theta.plugins import Plugins;"
            "from git_theta.smudge import content, rebuild;"
            "from git_theta.storage.local import LocalStore;"
            "store = LocalStore(Path(sys.argv[1]));"
            "metadata = parse(sys.stdin.buffer.read());"
            "rebuilt = rebuild(metadata, 'x', store=store, plugins=Plugins());"
            "[sys.stdout.buffer.write(block) for block in content(rebuilt)];"
            "assert 'theta_flax' not in sys.modules"
        )
        argv = ["python", "-c", command, str(repo.path / ".git/theta")]
        done = subprocess.run(argv, input=text, capture_output=True, check=True)
        assert done.stdout == data


def test_an_update_of_compressed_arrays_is_refused_with_what_to_do(repo: Repository) -> None:
    save(repo.path / "ckpt", {"a": weights(1)}, use_ocdbt=False)
    repo.git("theta", "track", "ckpt/", "*.safetensors")
    commit(repo)
    save_file({"a": weights(2)}, repo.path / "update.safetensors")
    command = ("theta", "add", "ckpt/a/0.0", "--update-path", "update.safetensors")
    said = repo.run(*command, "--update-type", "dense").stderr
    assert "expected numbers as they are, found them compressed with zstd" in said
    assert "save it, then: git add ckpt/a/0.0" in said
    assert repo.git("status", "--porcelain") == "?? update.safetensors\n"


def blosc(folder: Path) -> None:
    """Have an array of a checkpoint compressed in a way that we cannot look into."""
    path = folder / "a" / ".zarray"
    said = json.loads(path.read_text())
    said["compressor"] = {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1}
    path.write_text(json.dumps(said))


def test_show_names_what_no_format_can_read_and_says_why(repo: Repository) -> None:
    save(repo.path / "ckpt", {"a": weights(1), "b": weights(2)}, use_ocdbt=False)
    blosc(repo.path / "ckpt")
    repo.git("theta", "track", "ckpt/")
    said = repo.run("add", "--all").stderr
    repo.git("commit", "--quiet", "--message", "Version")
    why = (
        "ckpt/a/0.0 looks like zarr but cannot be read as such: "
        "Expected numbers of 'a', raw or as zstd, found them packed (blosc)\n"
        "Save as Orbax does by itself or with use_compression=False, for git-theta to see arrays"
    )
    assert "warning: " + why.replace("\n", "\ngit-theta: ") in said
    for version in ("ckpt", "HEAD:ckpt", "HEAD:", ":ckpt"):
        found = json.loads(repo.git("theta", "show", version, "--json"))
        files = {file["path"]: file.get("unknown_because") for file in found["files"]}
        assert files == {"ckpt/a/0.0": why, "ckpt/b/0.0": None}
        assert [group["name"] for group in found["groups"]] == ["b"]
        text = repo.git("theta", "show", version)
        assert "  unknown: " + why.replace("\n", "\n  ") in text
    assert (
        json.loads(repo.git("theta", "show", "HEAD:ckpt/a/0.0", "--json"))["unknown_because"] == why
    )
    assert "unknown   ckpt/a/0.0 looks like zarr" in repo.git("theta", "show", "ckpt/a/0.0")


def test_show_says_why_frames_stay_closed(repo: Repository) -> None:
    save(repo.path / "ckpt", {"a": weights(1), "b": weights(2)}, use_ocdbt=False)
    chunk = repo.path / "ckpt/a/0.0"
    chunk.write_bytes(chunk.read_bytes() + b"x")
    repo.git("theta", "track", "ckpt/")
    said = repo.run("add", "--all").stderr
    found = json.loads(repo.git("theta", "show", "ckpt", "--json"))
    files = {file["path"]: file.get("unknown_because") for file in found["files"]}
    why = files["ckpt/a/0.0"]
    assert why == (
        "ckpt/a/0.0: Expected frames of zstd that can be opened and given back, found none\n"
        "Save it without compression, so that git-theta sees its arrays one by one"
    )
    assert "warning: " + why.replace("\n", "\ngit-theta: ") in said
    assert files["ckpt/b/0.0"] is None


# ---- hostile folders -----------------------------------------------------------------------------

MIB = 2**20
CHUNK = zstandard.ZstdCompressor().compress(np.arange(300, dtype="<f4").tobytes())
BOMB = HEADER + block(RLE, 2**17, b"\0", last=False) * 250 + block(RLE, 2**17, b"\0")


def zarray(**changes: Any) -> bytes:
    said = {"zarr_format": 2, "shape": [300], "chunks": [300], "dtype": "<f4", "order": "C"}
    compressor = {"id": "zstd", "level": 1}
    return json.dumps({**said, "compressor": compressor, "filters": None, **changes}).encode()


def clean_chunk(chunk: bytes, metadata: bytes, folder: Path) -> Cleaned:
    files = {"x/w/0": BytesSource(chunk), "x/w/.zarray": BytesSource(metadata)}
    file = files["x/w/0"]
    with LocalStore(folder) as store:
        return clean(
            Cleaning(
                file, "x/w/0", digest(file), store=store, plugins=installed(), siblings=files.get
            )
        )


def test_the_honest_chunk_is_opened(tmp_path: Path) -> None:
    cleaned = clean_chunk(CHUNK, zarray(), tmp_path)
    assert [group[:3] for group in parse(cleaned.text).groups] == [("w", "F32", (300,))]
    assert not cleaned.warning


HOSTILE = {
    "of 10 GB in 1 kB": (BOMB, {"shape": [10**10], "chunks": [10**10], "dtype": "|u1"}),
    "of more than it says": (BOMB, {}),
    "of fewer numbers": (CHUNK, {"shape": [301], "chunks": [301]}),
    "of a huge array": (CHUNK, {"shape": [2**61], "chunks": [2**61]}),
    "that is cut": (CHUNK[:-1], {}),
    "that goes on": (CHUNK + b"x", {}),
    "that is empty": (b"", {}),
    "that is raw": (np.arange(300, dtype="<f4").tobytes(), {}),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_chunk_that_lies_is_kept_as_unknown(what: str, tmp_path: Path) -> None:
    chunk, changes = HOSTILE[what]
    with at_most(8 * MIB, what):
        cleaned = clean_chunk(chunk, zarray(**changes), tmp_path) if chunk else None
        found = detect(BytesSource(chunk), "x/w/0", installed(), lambda _: None)
    assert found.formats == ("unknown",)
    if cleaned:
        assert parse(cleaned.text).formats[0][0] == "unknown"
        assert cleaned.warning


def test_what_a_frame_holds_is_what_orbax_reads(tmp_path: Path) -> None:
    """Where a chunk is another's, all numbers are another's for us as for Orbax."""
    save(tmp_path / "ckpt", {"a": weights(1), "b": weights(2)}, use_ocdbt=False)
    chunk = (tmp_path / "ckpt/b/0.0").read_bytes()
    (tmp_path / "ckpt/a/0.0").write_bytes(chunk)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        found = checkpointer.restore(tmp_path / "ckpt")["a"]
    metadata = BytesSource((tmp_path / "ckpt/a/.zarray").read_bytes())
    files = {"ckpt/a/0.0": BytesSource(chunk), "ckpt/a/.zarray": metadata}
    with LocalStore(tmp_path / "theta") as store:
        file = files["ckpt/a/0.0"]
        text = clean(
            Cleaning(
                file,
                "ckpt/a/0.0",
                digest(file),
                store=store,
                plugins=installed(),
                siblings=files.get,
            )
        ).text
    (group,) = parse(text).groups
    assert group.digest == digest(BytesSource(oracle.to_value(np.asarray(found))[2]))
