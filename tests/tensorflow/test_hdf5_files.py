"""HDF5 files of every kind: groups where numbers lie as they are, nothing read elsewhere."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from needs_framework import needs

from git_theta.errors import LimitExceeded
from git_theta.formats.detect import Detected, detect
from git_theta.plugins import installed
from git_theta.source import BytesSource
from theta_tensorflow.hdf5.structure import Structure

SECRET = "/etc/hostname"


def make(path: Path, fill: Callable[[Any], object], **options: Any) -> bytes:
    h5py = needs("h5py")
    with h5py.File(path, "w", **options) as file:
        fill(file)
    return path.read_bytes()


def look(data: bytes) -> Detected:
    return detect(BytesSource(data), "m.h5", installed())


def names(data: bytes) -> list[str]:
    found = look(data)
    assert (found.formats, found.warning) == (("hdf5",), "")
    return sorted(tensor.name for tensor in found.layout.tensors)


def refused(data: bytes) -> str:
    found = look(data)
    assert found.formats == ("unknown",)
    return found.warning


def test_what_does_not_lie_there_as_it_is_stays_in_the_skeleton(tmp_path: Path) -> None:
    def fill(file: Any) -> None:
        file["plain"] = np.ones((3, 4), "f4")
        file.create_dataset("chunked", data=np.ones((64, 64)), chunks=(8, 8))
        file.create_dataset("packed", data=np.ones((64, 64)), compression="gzip")
        file.create_dataset("unwritten", (1000,), "f4")
        file["text"] = "words"
        file["texts"] = np.array([b"ab", b"cd"])
        file["complex"] = np.ones(3, "c8")
        file["opaque"] = np.ones(3, "u2").view("V2")

    assert names(make(tmp_path / "m.h5", fill)) == ["plain"]


def test_many_groups_in_a_tree_of_several_levels(tmp_path: Path) -> None:
    def fill(file: Any) -> None:
        for number in range(900):
            file[f"layers/block_{number:03}/vars/0"] = np.float32(number)

    found = names(make(tmp_path / "m.h5", fill))
    assert found == [f"layers/block_{number:03}/vars/0" for number in range(900)]


def test_the_latest_structures_are_read_where_groups_are_small(tmp_path: Path) -> None:
    def fill(file: Any) -> None:
        for name in "abc":
            file[f"{name}/vars/0"] = np.ones(3, "f4")
        file.attrs["long"] = "x" * 500

    assert len(names(make(tmp_path / "m.h5", fill, libver="latest"))) == 3
    assert len(names(make(tmp_path / "m.h5", fill, track_order=True))) == 3


@pytest.mark.parametrize("count", [9, 600, 5000], ids=["block", "table", "table of tables"])
def test_links_in_a_heap_are_found(tmp_path: Path, count: int) -> None:
    def fill(file: Any) -> None:
        group = file.create_group("layers")
        for number in range(count):
            group[f"a_layer_with_a_long_name_{number:090}"] = np.float32(number)

    found = names(make(tmp_path / "m.h5", fill, libver="latest"))
    assert found == [f"layers/a_layer_with_a_long_name_{number:090}" for number in range(count)]


def test_cycles_and_aliases_end(tmp_path: Path) -> None:
    def fill(file: Any) -> None:
        file["a/b/c"] = np.ones(3, "f4")
        file["a/b/up"] = file["a"]
        file["a/same"] = file["a/b/c"]
        file["root"] = file["/"]

    data = make(tmp_path / "m.h5", fill)
    assert names(data) == ["a/b/c", "a/same"]
    assert len(look(data).layout.buffers) == 1


# ---- other files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("beside", [1, 20])
def test_an_external_link_is_refused(tmp_path: Path, beside: int) -> None:
    h5py = needs("h5py")

    def fill(file: Any) -> None:
        for number in range(beside):
            file[f"inside{number}"] = np.ones(3, "f4")
        file["outside"] = h5py.ExternalLink(SECRET, "/")

    assert "link to another file" in refused(make(tmp_path / "m.h5", fill))


def test_external_storage_is_refused(tmp_path: Path) -> None:
    def fill(file: Any) -> None:
        file["inside"] = np.ones(3, "f4")
        file.create_dataset("outside", (2,), "f4", external=[(SECRET, 0, 8)])

    assert "lie in another file" in refused(make(tmp_path / "m.h5", fill))


def test_a_virtual_dataset_is_refused(tmp_path: Path) -> None:
    h5py = needs("h5py")

    def fill(file: Any) -> None:
        layout = h5py.VirtualLayout((3,), "f4")
        layout[:] = h5py.VirtualSource("other.h5", "x", (3,))
        file.create_virtual_dataset("view", layout)

    assert "view of other files" in refused(make(tmp_path / "m.h5", fill, libver="latest"))


# ---- lies ----------------------------------------------------------------------------------------


def one(tmp_path: Path) -> bytes:
    return make(tmp_path / "m.h5", lambda file: file.create_dataset("x", data=np.ones(64, "f4")))


def test_a_file_that_was_cut_says_so(tmp_path: Path) -> None:
    assert "cut short" in refused(one(tmp_path)[:-10])


@pytest.mark.parametrize("size", [2**62, 252, 0])
def test_sizes_that_lie_are_refused(tmp_path: Path, size: int) -> None:
    data = one(tmp_path)
    at = data.rindex(struct.pack("<Q", 256))  # its layout stands last in a dataset's header
    assert "as its layout says" in refused(data[:at] + struct.pack("<Q", size) + data[at + 8 :])


def test_a_name_without_an_end_is_given_up_soon() -> None:
    read: list[int] = []

    class Counted(BytesSource):
        def _read(self, offset: int, nbytes: int) -> bytes | memoryview:
            read.append(nbytes)
            return super()._read(offset, nbytes)

    with pytest.raises(LimitExceeded, match="A name of more than"):
        Structure(Counted(b"n" * 2**20)).name(0, 2**20)
    assert sum(read) < 2**15
    assert Structure(BytesSource(b"n" * 2**14 + b"\0")).name(0, 2**20) == "n" * 2**14


def test_structures_that_share_bytes_cost_no_more_than_their_file(tmp_path: Path) -> None:
    """A table of symbols in which all names are one long name, and every object is one group."""
    data = bytearray(
        make(tmp_path / "m.h5", lambda file: [file.create_group(f"g{n}") for n in range(3000)])
    )
    root = struct.unpack_from("<Q", data, data.index(b"SNOD") + 16)[0]
    at = -1
    while (at := data.find(b"SNOD", at + 1)) >= 0:
        for entry in range(at + 8, at + 8 + 40 * 8, 40):
            struct.pack_into("<QQ", data, entry, 8, root)
    found = look(bytes(data))
    assert not found.layout.tensors
