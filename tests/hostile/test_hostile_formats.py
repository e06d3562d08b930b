"""Files made to harm: each costs bounded time and memory, and is stored as an unknown file."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from git_theta.checkpoint import check_layout
from git_theta.formats.detect import MAX_NESTING, UNKNOWN, Detected, detect, splice
from git_theta.formats.safetensors_header import MAX_HEADER, MAX_OBJECTS, MAX_VALUES
from git_theta.plugins import Plugins
from git_theta.source import BytesSource, FileSource, Source
from git_theta.testing.memory import at_most

PLUGINS = Plugins()
MIB = 2**20
TEN_GB = 10**10


def look(file: bytes | Source, allowance: int = 4 * MIB) -> Detected:
    """What the formats make of a file: never an exception, never more memory than allowed."""
    source = BytesSource(file) if isinstance(file, bytes) else file
    with at_most(allowance, "a look at a hostile file"):
        found = detect(source, "hostile.bin", PLUGINS)
    check_layout(found.layout, source.size)
    return found


def npy(text: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode("latin-1") + data


def array_of(shape: str) -> bytes:
    return npy(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({shape}), }}", bytes(900))


def pack(text: bytes, data: bytes = b"", claim: int | None = None) -> bytes:
    return (len(text) if claim is None else claim).to_bytes(8, "little") + text + data


def group(shape: list[int], low: int, high: int) -> bytes:
    info = {"dtype": "F32", "shape": shape, "data_offsets": [low, high]}
    return pack(json.dumps({"x": info}).encode(), bytes(900))


def zipped(entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return out.getvalue()


def samples() -> dict[str, bytes]:
    arrays = {"a": np.arange(30.0), "b": np.ones((3, 4), np.int8)}
    npz, plain = io.BytesIO(), io.BytesIO()
    np.savez(npz, **arrays)  # type: ignore[arg-type]
    np.save(plain, arrays["a"])
    return {
        "safetensors": safetensors.numpy.save(arrays, {"format": "np"}),
        "npy": plain.getvalue(),
        "npz": npz.getvalue(),
        "zip": zipped({"m.safetensors": safetensors.numpy.save(arrays), "n": npz.getvalue()}),
    }


SAMPLES = samples()


def read_through(file: bytes) -> None:
    """Look at a file, and splice what was found in it as a merge would."""
    found = look(file)
    if found.layout.buffers:
        source = BytesSource(file)
        same = {n: source.window(*b[1:3]) for n, b in enumerate(found.layout.buffers)}
        for block in splice(source, "hostile.bin", PLUGINS, same).file.blocks():
            assert block


@pytest.mark.parametrize("kind", SAMPLES)
def test_files_cut_anywhere_are_looked_at_safely(kind: str) -> None:
    for length in range(len(SAMPLES[kind])):
        read_through(SAMPLES[kind][:length])


@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_flipped_bits_are_looked_at_safely(kind: str, data: st.DataObject) -> None:
    file = bytearray(SAMPLES[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(file) - 1))
        file[at] ^= 1 << data.draw(st.integers(0, 7))
    read_through(bytes(file))


@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_absurd_numbers_are_looked_at_safely(kind: str, data: st.DataObject) -> None:
    number = data.draw(st.sampled_from([2**63 - 1, 2**64 - 1, 2**63, 2**32 - 1, TEN_GB, 0]))
    width = data.draw(st.sampled_from([2, 4, 8]))
    file = bytearray(SAMPLES[kind])
    at = data.draw(st.integers(0, len(file) - width))
    file[at : at + width] = number.to_bytes(8, "little")[:width]
    read_through(bytes(file))


def lies() -> Iterator[tuple[str, bytes]]:
    """Files that claim what they do not have, each below 2 kB."""
    yield "an array of 10 GB", array_of(f"{TEN_GB // 8},")
    yield "an array of 2^3000 bytes", array_of("9999999999999999999," * 48)
    yield "an array of negative length", array_of("-1,")
    yield "an array of 2^64 - 8 bytes in 0", array_of("0, 9999999999999999999,") + b"x"
    yield "a group of 10 GB", group([TEN_GB // 4], 0, TEN_GB)
    yield "a group before the data", group([225], -900, 0)
    yield "a group of negative length", group([225], 900, 0)
    yield "a group behind the file", group([1], 2**63, 2**63 + 4)
    yield "a group of negative extents", group([-1, -225], 0, 900)
    yield "a header of 10 GB", pack(b"{}", claim=TEN_GB)
    yield "a header of 90 MB", pack(b"{}", claim=90_000_000)
    yield "a header of 2^64 - 1 bytes", pack(b"{}", claim=2**64 - 1)
    honest = zipped({"a.npy": npy("x", bytes(99))})
    for name, at, width in (("size", 20, 4), ("length", 24, 4), ("name", 28, 2), ("start", 42, 4)):
        where = honest.rindex(b"PK\1\2") + at
        changed = b"\xfe" * width
        yield (
            f"a zip entry with a {name} too large",
            honest[:where] + changed + honest[where + width :],
        )
    end = honest.rindex(b"PK\5\6")
    yield "a zip file of 65534 entries", honest[: end + 8] + b"\xfe\xff" * 2 + honest[end + 12 :]
    wide = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2**60, 2**60, 2**62, 2**62)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    blank = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0)
    yield "a zip file of 2^60 entries", honest[:end] + wide + locator + blank


@pytest.mark.parametrize("file", [pytest.param(file, id=what) for what, file in lies()])
def test_claims_of_more_than_there_is_cost_nothing(file: bytes) -> None:
    assert len(file) < 2000
    found = look(file, MIB // 4)
    assert found.layout.buffers == () or all(not b.nbytes for b in found.layout.buffers)


@pytest.mark.parametrize(
    "text",
    [
        b"{" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":' + b"[" * 1_000_000,
        b'{"__metadata__":' + b'{"a":' * 100_000 + b"}" * 100_001,
        b'{"a":' + b"1" * 1_000_000 + b"}",
        b'{"a":{"dtype":"U8","shape":[' + b"9" * 18 + b"," * 1 + b"9,9,9," * 50_000 + b"1",
        b'{"a":{"dtype":"U8","shape":[' + b"18446744073709551615," * 50_000 + b'1],"data_offsets"'
        b":[0,0]}}",
    ],
    ids=lambda text: f"{text[:20]!r} of {len(text)}",
)
def test_headers_that_nest_or_grow_are_refused(text: bytes) -> None:
    found = look(pack(text), 40 * MIB)
    assert found.formats == (UNKNOWN,)
    assert "safetensors" in found.warning


@pytest.mark.parametrize("item", ['"text",', "[[]],", '["ü"],', '{"":0},'])
def test_the_costliest_headers_within_the_limits_cost_bounded_memory(item: str) -> None:
    objects = item.count("{")
    values = item.count(",") + item.count("[")
    count = (MAX_VALUES - 9) // values
    if objects:
        count = min(count, (MAX_OBJECTS - 9) // objects)
    text = f'{{"a":[{item * count}"\U0001f600"]}}'.encode()
    assert len(text) < MAX_HEADER
    found = look(pack(text), 288 * MIB)
    assert "data_offsets" in found.warning  # it was parsed
    assert "objects" in look(pack(b"{" + b"{" * MAX_OBJECTS), 2 * MIB).warning


def test_warnings_stay_short_however_long_what_they_name_is() -> None:
    long = "n" * MIB
    shape = [1] * 2**19
    for header in (
        {long: {"dtype": "U8", "shape": [4], "data_offsets": [0, 1]}},
        {"a": {"dtype": long, "shape": [4], "data_offsets": [0, 4]}},
        {"a": {"dtype": "U8", "shape": shape, "data_offsets": [0, 4]}},
        {"a": {"dtype": "U8", "shape": [shape], "data_offsets": [0, 4]}},
        {"a": {"dtype": "U8", "shape": [4], "data_offsets": [shape, long]}},
        {"a": {"dtype": "U8", "shape": [4]}, long: {}},
    ):
        found = look(pack(json.dumps(header).encode(), b"1234"), 64 * MIB)
        assert 0 < len(found.warning) < 1000


def test_a_header_of_any_size_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "sparse.safetensors"
    with path.open("w+b") as file:
        file.write(pack(b"{", claim=99_999_999))
        file.truncate(TEN_GB)
        found = look(FileSource(file.fileno()), MIB // 4)
    assert found.formats == (UNKNOWN,)


def test_signatures_all_over_the_end_do_not_slow_the_search_for_the_directory() -> None:
    for filling in (b"PK\5\6" * 30_000, b"PK\6\7" * 30_000, b"PK\1\2" * 30_000):
        assert look(b"PK\3\4" + filling).formats == (UNKNOWN,)


# ---- containers ----------------------------------------------------------------------------------


def test_compressed_entries_are_never_inflated() -> None:
    bomb = zipped({"a.npy": array_of("1,") + bytes(64 * MIB)}, zipfile.ZIP_DEFLATED)
    assert look(bomb, MIB).formats == (UNKNOWN,)
    outer = zipped({"bomb.zip": bomb, "good.npy": SAMPLES["npy"]})
    assert [tensor.name for tensor in look(outer, MIB).layout.tensors] == ["good"]


def overlapping(count: int) -> bytes:
    """Many entries that share one content, as in the densest of zip bombs."""
    content = SAMPLES["npy"]
    crc, size = crc32(content), len(content)
    head = (b"PK\3\4", 20, 0, 0, 0, 0, crc, size, size, 1, 0)
    body = struct.pack("<4s5H3L2H", *head) + b"a" + content
    names = [struct.pack("<H", number) for number in range(count)]
    record = (b"PK\1\2", 20, 20, 0, 0, 0, 0, crc, size, size, 2, 0, 0, 0, 0, 0, 0)
    records = b"".join(struct.pack("<4s6H3L5H2L", *record) + name for name in names)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(records), len(body), 0)
    return body + records + end


def test_entries_that_share_their_content_are_refused() -> None:
    found = look(overlapping(200))
    assert found.formats == (UNKNOWN,)
    assert "zip" in found.warning


def test_nesting_is_followed_so_far_and_no_further() -> None:
    file = SAMPLES["npz"]
    for depth in range(MAX_NESTING + 20):
        found = look(file)
        nested = depth + 2 <= MAX_NESTING + 1
        assert bool(found.layout.tensors) == nested
        assert nested == (not found.warning)
        file = zipped({"deeper.zip": file})


def test_a_file_of_files_is_looked_at_once_each() -> None:
    small = zipped({f"{number}.npy": SAMPLES["npy"] for number in range(20)})
    large = zipped({f"{number}.npz": small for number in range(50)})
    assert len(look(large, 16 * MIB).layout.tensors) == 1000


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd.npy", "/etc/passwd.npy", "C:\\x.npy", "..", ".npy", "a\nb", "\x1b[2J"],
)
def test_names_of_entries_are_names_and_no_paths(name: str, tmp_path: Path) -> None:
    found = look(zipped({name: SAMPLES["npy"]}))
    assert [tensor.name for tensor in found.layout.tensors] == [name.removesuffix(".npy")]
    assert list(tmp_path.iterdir()) == []
