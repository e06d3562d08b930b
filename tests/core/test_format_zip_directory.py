"""The directory of a zip file: read in every form that is written, refused where it lies."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_theta.errors import CheckpointError, FormatMismatch, LimitExceeded
from git_theta.formats import zip_end
from git_theta.formats.zip_directory import Entry, read_entries, splice_stored
from git_theta.source import BytesSource, FileSource, Source

REAL = {
    "silero-vad==6.2.3": "silero_vad/data/silero_vad.jit",
    "silero-vad==5.1.2": "silero_vad/data/silero_vad.jit",
    "chgnet": "chgnet/pretrained/0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar",
    "g2p-en": "g2p_en/checkpoint20.npz",
}
HERE = 0xFFFFFFFF


class Pipe(io.BytesIO):
    """An output that cannot seek: zipfile writes data descriptors to it."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: int) -> int:
        raise io.UnsupportedOperation("seek")

    def tell(self) -> int:
        raise io.UnsupportedOperation("tell")


@dataclass
class Part:
    """An entry in a form of one's choice, right unless told otherwise."""

    name: bytes
    data: bytes
    flags: int = 0
    descriptor: str = ""  # struct format of the data descriptor, "4s" for its signature
    wide: bool = False  # whether all numbers stand in zip64 extra fields
    method: int = 0
    header: int | None = None
    local_name: bytes | None = None
    local_method: int | None = None
    local_flags: int | None = None
    local_sizes: tuple[int, int] | None = None
    directory_sizes: tuple[int, int] | None = None
    local_crc: int | None = None
    disk: int = 0

    def local(self) -> bytes:
        size, crc = len(self.data), crc32(self.data)
        name = self.name if self.local_name is None else self.local_name
        flags = self.flags | 8 * bool(self.descriptor)
        packed, unpacked = (0, 0) if self.descriptor else (size, size)
        extra = struct.pack("<2H2Q", 1, 16, unpacked, packed) if self.wide else b""
        packed, unpacked = (HERE, HERE) if self.wide else (packed, unpacked)
        packed, unpacked = self.local_sizes or (packed, unpacked)
        crc = (0 if self.descriptor else crc) if self.local_crc is None else self.local_crc
        flags = flags if self.local_flags is None else self.local_flags
        method = self.method if self.local_method is None else self.local_method
        head = (b"PK\3\4", 45, flags, method, 0, 0, crc, packed, unpacked, len(name), len(extra))
        return struct.pack("<4s5H3L2H", *head) + name + extra + self.data + self.trailer()

    def trailer(self) -> bytes:
        numbers: tuple[bytes | int, ...] = (crc32(self.data), len(self.data), len(self.data))
        if self.descriptor.startswith("4s"):
            numbers = (b"PK\7\x08", *numbers)
        return struct.pack("<" + self.descriptor, *numbers) if self.descriptor else b""

    def record(self, offset: int) -> bytes:
        size, crc = len(self.data), crc32(self.data)
        packed, unpacked = self.directory_sizes or (size, size)
        offset = offset if self.header is None else self.header
        extra, disk = b"", self.disk
        if self.wide:
            extra = struct.pack("<2H", 0x5A5A, 3) + b"pad"  # fields of others come before
            extra += struct.pack("<2H3QL", 1, 28, unpacked, packed, offset, disk)
            packed, unpacked, offset, disk = HERE, HERE, HERE, 0xFFFF
        flags = self.flags | 8 * bool(self.descriptor)
        head = (b"PK\1\2", 45, 45, flags, self.method, 0, 0, crc, packed, unpacked)
        tail = (len(self.name), len(extra), 0, disk, 0, 0, offset)
        return struct.pack("<4s6H3L5H2L", *head, *tail) + self.name + extra


def build(
    *parts: Part,
    wide: bool = False,
    comment: bytes = b"",
    count: int | None = None,
    slack: bytes = b"",
    shift: int = 0,
    disks: int = 1,
) -> bytes:
    body, records = b"", b""
    for part in parts:
        records += part.record(len(body))
        body += part.local()
    start, size = len(body) + shift, len(records)
    count = len(parts) if count is None else count
    end = b""
    if wide:
        numbers = (45, 45, disks - 1, disks - 1, count, count, size, start)
        end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, *numbers)
        end += struct.pack("<4sLQL", b"PK\6\7", 0, len(body + slack) + size, disks)
        count, size, start = 0xFFFF, HERE, HERE
    end += struct.pack(
        "<4s4H2LH", b"PK\5\6", disks - 1, disks - 1, count, count, size, start, len(comment)
    )
    return body + records + slack + end + comment


def read(file: bytes) -> tuple[Entry, ...]:
    return read_entries(BytesSource(file))


def check_against_zipfile(file: Source, archive: zipfile.ZipFile) -> None:
    entries = read_entries(file)
    infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
    assert [e.name for e in entries] == [info.orig_filename for info in infos]
    for entry, info in zip(entries, infos, strict=True):
        assert (entry.nbytes, entry.crc32) == (info.compress_size, info.CRC)
        assert entry.stored == (info.compress_type == zipfile.ZIP_STORED)
        assert len(entry.crc_offsets) >= 2
        for offset in entry.crc_offsets:
            assert int.from_bytes(file.read(offset, 4), "little") == info.CRC
        if entry.stored:
            assert file.read(entry.start, entry.nbytes) == archive.read(info)


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), st.binary()
    ),
    st.booleans(),
    st.booleans(),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    st.binary(max_size=40),
)
def test_what_zipfile_writes_is_read(
    contents: dict[str, bytes], streamed: bool, wide: bool, method: int, comment: bytes
) -> None:
    out = Pipe() if streamed else io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.comment = comment
        for name, data in contents.items():
            with archive.open(name, "w", force_zip64=wide) as entry:
                entry.write(data)
    file = BytesSource(out.getvalue())
    with zipfile.ZipFile(io.BytesIO(out.getvalue())) as archive:
        check_against_zipfile(file, archive)


@pytest.mark.parametrize("package", REAL)
def test_real_files_are_read(weights: Callable[[str], Path], package: str) -> None:
    path = weights(package) / REAL[package]
    with path.open("rb") as opened, zipfile.ZipFile(path) as archive:
        check_against_zipfile(FileSource(opened.fileno()), archive)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("descriptor", ["", "3L", "L2Q", "4s3L", "4sL2Q"])
@pytest.mark.parametrize("data", [b"", b"content", b"PK\7\x08" * 9])
def test_every_form_of_sizes_and_checksums_is_read_and_spliced(
    wide: bool, descriptor: str, data: bytes
) -> None:
    parts = [Part(name, data, descriptor=descriptor, wide=wide) for name in (b"a", b"b", b"c")]
    file = build(*parts, wide=wide, comment=b"a PK\5\6 comment")
    entries = read(file)
    assert [(e.name, e.nbytes, e.stored) for e in entries] == [(n, len(data), True) for n in "abc"]
    new = data[::-1]
    parts[1].data = new
    expected = build(*parts, wide=wide, comment=b"a PK\5\6 comment")
    spliced = splice_stored(BytesSource(file), entries, {entries[1].start: BytesSource(new)})
    assert bytes(spliced.read(0, spliced.size)) == expected


def test_small_changes_are_summed_up_in_the_entry_they_lie_in() -> None:
    old = {"a": bytes(range(100)), "b": b"", "c": bytes(50)}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in old.items():
            archive.writestr(name, data)
    file = BytesSource(out.getvalue())
    entries = read_entries(file)
    first, _, last = (entry.start for entry in entries)
    patches: dict[int, Source] = {
        first + 10: BytesSource(b"ten"),
        first + 97: BytesSource(b"end"),
        last + 1: BytesSource(b""),
    }
    spliced = splice_stored(file, entries, patches)
    with zipfile.ZipFile(io.BytesIO(bytes(spliced.read(0, spliced.size)))) as archive:
        assert archive.read("a") == old["a"][:10] + b"ten" + old["a"][13:97] + b"end"
        assert (archive.read("b"), archive.read("c")) == (old["b"], old["c"])


def test_compressed_and_encrypted_entries_are_not_stored_and_not_changed() -> None:
    encrypted = Part(b"e", b"0123456789abxx", flags=1, directory_sizes=(14, 2), local_sizes=(14, 2))
    file = build(Part(b"d", b"xyz", method=8), encrypted, Part(b"s", b"xyz"))
    entries = read(file)
    assert [e.stored for e in entries] == [False, False, True]
    with pytest.raises(CheckpointError, match="compressed"):
        splice_stored(BytesSource(file), entries, {entries[0].start: BytesSource(b"abc")})


def test_a_file_with_gaps_and_another_order_of_entries_is_read() -> None:
    gap = Part(b"gap", b"not in the directory")
    first, last = Part(b"z", b"1"), Part(b"a", b"2")
    body = gap.local() + first.local() + gap.local() + last.local()
    records = last.record(len(body) - len(last.local())) + first.record(len(gap.local()))
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 2, 2, len(records), len(body), 0)
    assert [entry.name for entry in read(body + records + end)] == ["z", "a"]


def bad() -> Iterator[tuple[str, bytes]]:
    a, b = Part(b"a", b"1234"), Part(b"b", b"5678")
    yield "bytes appended", build(a) + b"x"
    yield "bytes put before", b"PK\3\4" + build(a)
    yield "no end", build(a)[:-1]
    yield "entries twice", build(a, a)
    yield "overlap", build(a, Part(b"b", b"5678", header=0))
    yield (
        "overlap by a byte",
        build(
            Part(b"a", b"12345", local_sizes=(5, 5), directory_sizes=(5, 5)),
            Part(b"b", Part(b"b", b"").local(), header=31),
        ),
    )
    yield "offset behind the directory", build(a, Part(b"b", b"5678", header=10**9))
    yield "wide offset behind all", build(Part(b"b", b"5678", header=2**63, wide=True))
    yield "content into the directory", build(Part(b"a", b"12", directory_sizes=(99, 99)))
    yield "size of 10 GB", build(Part(b"a", b"12", directory_sizes=(10**10,) * 2, wide=True))
    yield "another name", build(Part(b"a", b"12", local_name=b"b"))
    yield "a longer name", build(Part(b"a", b"12", local_name=b"ab"))
    yield "another method", build(Part(b"a", b"12", local_method=8))
    yield "encrypted there, not here", build(Part(b"a", b"12", local_flags=1))
    yield "descriptor there, not here", build(Part(b"a", b"12", local_flags=8))
    yield "other sizes", build(Part(b"a", b"12", local_sizes=(1, 1)))
    yield "another checksum", build(Part(b"a", b"12", local_crc=7))
    yield (
        "stored in fewer bytes",
        build(Part(b"a", b"12", local_sizes=(2, 9), directory_sizes=(2, 9))),
    )
    yield "no zip64 field", build(Part(b"a", b"12", local_sizes=(HERE, HERE)))
    yield "more entries than there are", build(a, count=2)
    yield "fewer entries than there are", build(a, b, count=1)
    yield "65535 entries in few bytes", build(a, count=0xFFFF)
    yield "2^60 entries in few bytes", build(a, wide=True, count=2**60)
    yield "directory elsewhere", build(a, shift=-1)
    yield "directory far behind", build(a, wide=True, shift=2**62)
    yield "bytes behind the directory", build(a, slack=b"xx")
    yield "bytes behind the wide directory", build(a, slack=b"xx", wide=True)
    yield "a part of a split file", build(a, disks=2)
    yield "a part of a split wide file", build(a, wide=True, disks=2)
    yield "an entry on another disk", build(Part(b"a", b"12", disk=1))
    yield "a name that is no UTF-8", build(Part(b"\xff", b"12", flags=2048))
    for descriptor in ("4s3L", "4sL2Q"):
        late = Part(b"a", b"1234", descriptor=descriptor)
        wrong = late.trailer()[:-1] + b"\1"
        yield f"wrong descriptor {descriptor}", build(late).replace(late.trailer(), wrong)
    yield "an entry that is the file itself", build(Part(b"a", b"", directory_sizes=(150, 150)))
    yield "no entry where one should be", build(a).replace(b"PK\1\2", b"PK\1\3")
    yield (
        "wide and narrow differ",
        build(a, wide=True).replace(b"PK\5\6\0\0\0\0\xff\xff\xff\xff", b"PK\5\6\0\0\0\0\2\0\2\0"),
    )


@pytest.mark.parametrize("file", [pytest.param(file, id=what) for what, file in bad()])
def test_contradictions_are_refused(file: bytes) -> None:
    with pytest.raises(CheckpointError) as caught:
        read(file)
    assert not isinstance(caught.value, FormatMismatch)


def test_other_files_are_no_zip_files() -> None:
    for file in (b"", b"PK", b"\x80\x02}", build(Part(b"a", b"1"))[1:]):
        with pytest.raises(FormatMismatch):
            read(file)
    assert read(build()) == ()


def test_caps_are_checked_before_memory_is_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    file = build(Part(b"a", b"1"), Part(b"b", b"1"))
    assert len(read(file)) == 2
    for name in ("MAX_ENTRIES", "MAX_DIRECTORY"):
        with monkeypatch.context() as patched:
            patched.setattr(zip_end, name, 1)
            with pytest.raises(LimitExceeded):
                read(file)
