"""Zip files are read through what they hold; an .npz is one of many."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from git_theta.errors import CheckpointError, FormatMismatch
from git_theta.formats.detect import UNKNOWN, Context, detect, splice
from git_theta.formats.interface import TensorData
from git_theta.formats.npy import DTYPES
from git_theta.formats.zip import Zip
from git_theta.plugins import Plugins
from git_theta.source import BytesSource, FileSource, Source
from git_theta.testing.values import read_values

FORMAT = Zip()
ARRAYS = {"weight": np.arange(6, dtype="<f4").reshape(2, 3), "bias": np.arange(3, dtype="<i8")}


def npy(array: np.ndarray[Any, Any]) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def archive(entries: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as opened:
        for name, data in entries.items():
            opened.writestr(name, data)
    return out.getvalue()


def savez(arrays: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    out = io.BytesIO()
    np.savez(out, **dict(arrays))  # type: ignore[arg-type]
    return out.getvalue()


def names(file: bytes) -> list[str]:
    found = detect(BytesSource(file), "x.zip", Plugins())
    assert (found.formats[0], found.warning) == ("zip", "")
    return [tensor.name for tensor in found.layout.tensors]


def spliced(file: bytes, group: str, data: bytes) -> bytes:
    plugins = Plugins()
    layout = detect(BytesSource(file), "x.zip", plugins).layout
    (tensor,) = (tensor for tensor in layout.tensors if tensor.name == group)
    changed = {tensor.buffer: BytesSource(data)}
    result = splice(BytesSource(file), "x.zip", plugins, changed).file
    return bytes(result.read(0, result.size))


def test_groups_are_named_after_their_arrays() -> None:
    assert names(savez(ARRAYS)) == ["weight", "bias"]


def test_groups_of_other_formats_stand_below_their_entry() -> None:
    model = safetensors.numpy.save(ARRAYS)
    file = archive({"m.safetensors": model, "inner.npz": savez(ARRAYS), "a.npy": npy(np.ones(2))})
    assert sorted(names(file)) == [
        *("a", "inner.npz/bias", "inner.npz/weight"),
        *("m.safetensors/bias", "m.safetensors/weight"),
    ]
    found = detect(BytesSource(file), "x.zip", Plugins())
    assert set(found.formats) == {"zip", "safetensors", "npy"}


def test_an_array_whose_short_name_is_taken_keeps_its_long_one() -> None:
    assert names(archive({"a": npy(np.ones(2)), "a.npy": npy(np.ones(3))})) == ["a", "a.npy/array"]


def test_two_groups_of_one_name_are_refused() -> None:
    one = safetensors.numpy.save({"x/y": np.ones(1)})
    other = safetensors.numpy.save({"y": np.ones(1)})
    found = detect(BytesSource(archive({"s": one, "s/x": other})), "x.zip", Plugins())
    assert found.formats == (UNKNOWN,)
    assert "'s/x/y'" in found.warning


def test_a_zip_file_that_holds_no_checkpoint_is_an_unknown_file_without_a_warning() -> None:
    for file in (
        archive({"notes.txt": b"text", "folder/": b"", "empty.npy": b""}),
        archive({"a.npy": npy(np.zeros(999))}, zipfile.ZIP_DEFLATED),
        archive({}),
    ):
        with pytest.raises(FormatMismatch):
            FORMAT.scan(BytesSource(file), Context(Plugins(), "x.zip"))
        found = detect(BytesSource(file), "x.zip", Plugins())
        assert (found.formats, found.warning) == ((UNKNOWN,), "")


def test_a_malformed_part_is_told_of_and_the_others_are_read() -> None:
    file = archive({"bad.npy": b"\x93NUMPY\x09\x09 and more", "good.npy": npy(np.ones(2))})
    found = detect(BytesSource(file), "x.zip", Plugins())
    assert [tensor.name for tensor in found.layout.tensors] == ["good"]
    assert "bad.npy looks like npy but cannot be read" in found.warning


def test_of_many_malformed_parts_three_are_told_of_and_the_others_counted() -> None:
    bad = b"\x93NUMPY\x09\x09 and more"
    parts = {f"{number}{'x' * 5000}.npy": bad for number in range(50)}
    found = detect(BytesSource(archive({**parts, "good.npy": npy(np.ones(2))})), "x.zip", Plugins())
    assert [tensor.name for tensor in found.layout.tensors] == ["good"]
    assert found.warning.count(" looks like npy but cannot be read") == 3
    assert found.warning.endswith("; and 47 more")
    assert len(found.warning) < 1300


def test_numpy_reads_a_spliced_npz_with_its_checksums() -> None:
    new = np.full((2, 3), 7, "<f4")
    with np.load(io.BytesIO(spliced(savez(ARRAYS), "weight", new.tobytes()))) as found:
        assert np.array_equal(found["weight"], new)
        assert np.array_equal(found["bias"], ARRAYS["bias"])


def test_all_checksums_around_a_nested_change_are_right() -> None:
    inner = archive({"deep.npz": savez(ARRAYS), "note": b"x"})
    file = archive({"none.npy": npy(np.zeros(0)), "inner.zip": inner, "last.npy": npy(np.ones(2))})
    new = np.array([7, 8, 9], "<i8")
    changed = spliced(file, "inner.zip/deep.npz/bias", new.tobytes())
    with zipfile.ZipFile(io.BytesIO(changed)) as outer:
        assert outer.testzip() is None
        with zipfile.ZipFile(io.BytesIO(outer.read("inner.zip"))) as middle:
            assert middle.testzip() is None
            with np.load(io.BytesIO(middle.read("deep.npz"))) as found:
                assert np.array_equal(found["bias"], new)
                assert np.array_equal(found["weight"], ARRAYS["weight"])


def test_real_weights_are_read_spliced_and_written_as_by_numpy(
    weights: Callable[[str], Path],
) -> None:
    path = weights("g2p-en") / "g2p_en/checkpoint20.npz"
    with np.load(path) as opened:
        arrays = dict(opened)
    with path.open("rb") as file:
        source = FileSource(file.fileno())
        layout = detect(source, path.name, Plugins()).layout
        values = read_values(source, layout)
        assert values.keys() == arrays.keys()
        for name, array in arrays.items():
            dtype, shape, data = values[name]
            assert (dtype, tuple(shape)) == (DTYPES[array.dtype.str[1:]], array.shape)
            assert data == array.tobytes()
        groups = {n: TensorData(v[0], v[1], BytesSource(v[2])) for n, v in values.items()}
        assert written(groups, source) == savez(arrays)
    new = arrays["dec_w_ih"] * 2
    with np.load(io.BytesIO(spliced(path.read_bytes(), "dec_w_ih", new.tobytes()))) as found:
        for name, array in arrays.items():
            assert np.array_equal(found[name], new if name == "dec_w_ih" else array)


# ---- writing -------------------------------------------------------------------------------------


def written(groups: Mapping[str, TensorData], template: Source | None) -> bytes:
    out = io.BytesIO()
    FORMAT.write(groups, template, out)
    return out.getvalue()


def test_a_new_file_is_what_savez_writes() -> None:
    groups = {
        name: TensorData(DTYPES[array.dtype.str[1:]], array.shape, BytesSource(array.tobytes()))
        for name, array in ARRAYS.items()
    }
    assert written(groups, None) == savez(ARRAYS)


def test_groups_that_numpy_cannot_hold_are_refused() -> None:
    with pytest.raises(CheckpointError, match="BF16"):
        written({"a": TensorData("BF16", (2,), BytesSource(bytes(4)))}, None)


def test_zip_files_that_hold_more_than_arrays_are_not_written() -> None:
    group = TensorData("F32", (1,), BytesSource(bytes(4)))
    for template in (
        archive({"a.npy": npy(np.ones(1)), "notes.txt": b"text"}),
        archive({"a.npy": npy(np.ones(1))}, zipfile.ZIP_DEFLATED),
    ):
        with pytest.raises(CheckpointError, match="only be read"):
            written({"a": group}, BytesSource(template))
