"""Hostile stores of OCDBT whose keys are long: what nodes leave out of them counts as well."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from made_ocdbt import NAMES, NODE, Outside, interior, leaf, manifest, sealed

from git_theta.checkpoint import Layout
from git_theta.errors import CheckpointError, LimitExceeded
from git_theta.formats.detect import Context
from git_theta.plugins import installed
from git_theta.source import BytesSource, Source
from git_theta.testing.memory import at_most
from theta_flax.ocdbt import tree
from theta_flax.ocdbt.fields import MAX_TEXT
from theta_flax.ocdbt.format import Ocdbt, _find_array
from theta_flax.zarr.metadata import MAX_BYTES

MIB = 2**20
PATH = f"s/{NAMES[0]}"


def scan(nodes: Sequence[bytes], height: int) -> Layout:
    """Scan a store of nodes in files, of which the last is the root and each names the others."""
    files = {f"s/{number:02}": node for number, node in enumerate(nodes)}
    root = Outside(0, len(nodes[-1]), len(nodes) - 1)
    files["s/manifest.ocdbt"] = manifest(root, height, paths=[f"{n:02}" for n in range(len(files))])
    files[PATH] = bytes(64)

    def open_sibling(name: str) -> Source | None:
        return BytesSource(files[name]) if name in files else None

    return Ocdbt().scan(BytesSource(files[PATH]), Context(installed(), PATH, open_sibling))


def tower(low: bytes, prefix: bytes, height: int) -> list[bytes]:
    """Nodes above one another, each of which adds a prefix to all keys below."""
    nodes = [low]
    for level in range(1, height + 1):
        paths = [f"{n:02}" for n in range(level)]
        child = {prefix: Outside(0, len(nodes[-1]), level - 1)}
        nodes.append(sealed(NODE, interior(level, child, paths), packed=True))
    return nodes


def test_prefixes_of_nodes_above_one_another_make_no_longer_keys() -> None:
    low = sealed(NODE, leaf({b"%d" % n: b"" for n in range(100)}), packed=True)
    nodes = tower(low, b"p" * (MAX_TEXT // 4), 3)
    assert scan(nodes, 3) == Layout()
    with at_most(16 * MIB, "keys"), pytest.raises(CheckpointError, match="keys of at most"):
        scan(tower(low, b"p" * (MAX_TEXT // 4), 4), 4)


def test_keys_of_all_nodes_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_BYTES", 4 * MIB)
    outside = Outside(0, 1, 0)
    low = sealed(NODE, leaf({b"%d" % n: outside for n in range(100)}, NAMES), packed=True)
    fits = tower(low, b"p" * 32_000, 1)
    assert scan(fits, 1) == Layout()
    children = {b"%d" % n + b"p" * 32_000: Outside(0, len(low), 0) for n in range(2)}
    with at_most(16 * MIB, "keys"), pytest.raises(LimitExceeded):
        scan([low, sealed(NODE, interior(1, children, ["00"]), packed=True)], 1)


def test_metadata_inside_a_node_is_as_bounded_as_a_file_of_it() -> None:
    text = b"[" + b"0," * MAX_BYTES + b"0]"
    low = sealed(NODE, leaf({b"w/zarr.json": text}), packed=True)
    with at_most(16 * MIB, "metadata"), pytest.raises(LimitExceeded):
        scan([low], 0)


def test_a_key_of_countless_folders_is_looked_up_in_the_few_that_can_be_its_array() -> None:
    asked: list[str] = []

    class Counted(dict[str, object]):
        def get(self, key: str, default: object = None) -> object:
            asked.append(key)
            return super().get(key, default)

    assert _find_array("/" * 10_000, Counted()) is None  # type: ignore[arg-type]
    assert 0 < len(asked) <= 65
