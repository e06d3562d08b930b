"""What was written once stays readable, and the same files are still described the same way."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from synthetic import clean_file, plugins, rebuild_file

from git_theta.metadata import parse, print_metadata
from git_theta.plugins import Plugins
from git_theta.storage.local import LocalStore
from git_theta.storage.pack import Pack
from git_theta.storage.verify import verify_packs
from git_theta.zstd_frame import decompress

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"


def load(path: Path) -> Any:
    """The module of a script."""
    spec = importlib.util.spec_from_file_location("golden_make", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE = load(GOLDEN / "make.py")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    with LocalStore(tmp_path / "theta") as store:
        yield store


def metadata(name: str) -> bytes:
    data: bytes = (GOLDEN / name / "metadata").read_bytes()
    return data


@pytest.mark.parametrize("name", MAKE.SETS)
def test_golden_metadata_and_packs_give_the_exact_file(name: str, store: LocalStore) -> None:
    MAKE.copy_packs(name, store)
    assert not store.damaged
    assert rebuild_file(metadata(name), store) == MAKE.SETS[name][0]()
    assert list(verify_packs(store, Plugins())) == []


@pytest.mark.parametrize("name", MAKE.SETS)
def test_golden_metadata_is_the_one_valid_text(name: str) -> None:
    assert print_metadata(parse(metadata(name))) == metadata(name)


@pytest.mark.parametrize("name", MAKE.SETS)
def test_files_are_described_as_ever(name: str, store: LocalStore) -> None:
    """All but the packs' lines: how well they are compressed is a matter of versions."""
    function, before = MAKE.SETS[name]
    previous = metadata(before) if before else None
    text = clean_file(function(), store, previous=previous, known=plugins())
    found, expected = (
        [line for line in data.split(b"\n") if not line.startswith(b"pack ")]
        for data in (text, metadata(name))
    )
    assert found == expected


@pytest.mark.parametrize("name", MAKE.SETS)
def test_nothing_is_stored_again_on_top_of_golden_packs(name: str, store: LocalStore) -> None:
    MAKE.copy_packs(name, store)
    packs = store.packs.packs()
    assert clean_file(MAKE.SETS[name][0](), store) == metadata(name)
    assert store.packs.packs() == packs


def test_golden_packs_have_their_names_and_use_every_feature() -> None:
    used, depths, several = set(), set(), 0
    for path in GOLDEN.glob("*/packs/*"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
        with Pack(path) as pack:
            for number in range(len(pack)):
                payload = pack.payload(number)
                used |= {payload.update[0], *(part.serializer[0] for part in payload.parts)}
                depths.add(payload.depth)
                several += len(payload.buffers) > 1
    updates = {"dense", "patch", "delta", "sparse", "scale", "low-rank", "recipe", "cast"}
    assert used == updates | {"planes", "raw", "rice"}
    assert depths == {1, 2, 3}
    assert several


def examples(page: str) -> list[str]:
    """The blocks of code of a specification's example."""
    text = (ROOT / "docs" / "spec" / page).read_text(encoding="utf-8")
    section = text.split("\n## Example\n")[1].split("\n## ")[0]
    return re.findall(r"^```\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def test_example_of_the_metadata_specification_is_golden() -> None:
    assert examples("metadata-v1.md") == [metadata("zeros").decode()]


def test_example_of_the_pack_specification_is_golden() -> None:
    (path,) = (GOLDEN / "zeros" / "packs").iterdir()
    data = path.read_bytes()
    dump, directory = examples("pack-v1.md")
    rows = [line.split("  ") for line in dump.splitlines()]
    assert [int(at, 16) for at, _ in rows] == list(range(0, len(data), 16))
    assert bytes.fromhex("".join(row for _, row in rows)) == data
    start, nbytes = (int.from_bytes(data[at : at + 8], "little") for at in (-56, -48))
    value = msgpack.unpackb(decompress(data[start:-56], nbytes))
    assert "".join(directory.split()) == notation(value).replace(" ", "")


def notation(value: object) -> str:
    """A msgpack value as the specification writes it."""
    if isinstance(value, list):
        return f"[{','.join(map(notation, value))}]"
    if isinstance(value, bytes):
        return f"h'{value.hex()}'"
    return f'"{value}"' if isinstance(value, str) else str(value)
