"""The kit for formats: what keeps the promises passes, each broken promise is caught."""

from __future__ import annotations

import itertools
import struct
import sys
import types
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kit_runner import checks, run

from git_theta.checkpoint import Buffer, Layout, Tensor
from git_theta.errors import CheckpointError
from git_theta.formats.interface import CheckpointFormat, ScanContext
from git_theta.formats.overlay import Overlay
from git_theta.source import BytesSource, Source
from git_theta.testing import (
    FormatConformance,
    Value,
)
from git_theta.zstd_frame import compress_text


class Flat(CheckpointFormat):
    """The magic FLAT, a count of F32, the numbers, their CRC-32."""

    name = "flat"

    def matches(self, head: bytes, path: str) -> bool:
        return head.startswith(b"FLAT")

    def scan(self, file: Source, context: ScanContext) -> Layout:
        if file.size < 12:
            raise CheckpointError(f"Expected 12 bytes, found {file.size}")
        (count,) = struct.unpack("<I", file.read(4, 4))
        if file.size != 12 + 4 * count:
            raise CheckpointError(f"Expected {count} numbers, found {file.size} bytes")
        return self.layout(count)

    def layout(self, count: int) -> Layout:
        buffer = Buffer("F32", 8, 4 * count)
        return Layout((buffer,), (Tensor("values", "F32", (count,), 0),))

    def splice(
        self,
        template: Source,
        layout: Layout,
        changed: Mapping[int, Source],
        context: ScanContext,
    ) -> Source:
        patched = super().splice(template, layout, changed, context)
        crc = zlib.crc32(patched.read(8, template.size - 12))
        tail = BytesSource(struct.pack("<I", crc))
        return Overlay(patched, {template.size - 4: tail})


def flat(numbers: bytes) -> bytes:
    count, crc = len(numbers) // 4, zlib.crc32(numbers)
    return b"FLAT" + struct.pack("<I", count) + numbers + struct.pack("<I", crc)


class FlatKit(FormatConformance):
    memory_bound = 2**22

    def __init__(self, format: CheckpointFormat) -> None:
        self.format = format

    def samples(self) -> Mapping[str, bytes]:
        return {"some.flat": flat(np.arange(30, dtype="<f4").tobytes()), "none.flat": flat(b"")}

    def oracle(self, file: Path) -> Mapping[str, Value]:
        data = file.read_bytes()
        assert data == flat(data[8:-4]), "the checksum is wrong"
        return {"values": Value("F32", (len(data) // 4 - 3,), data[8:-4])}


class KnowsTheSuffix(Flat):
    def matches(self, head: bytes, path: str) -> bool:
        return path.endswith(".flat")


class LeavesTheFile(Flat):
    def layout(self, count: int) -> Layout:
        return Layout((Buffer("F32", 16, 4 * count + 4),))


class FindsNothing(Flat):
    def layout(self, count: int) -> Layout:
        return Layout()


class Renames(Flat):
    def layout(self, count: int) -> Layout:
        return Layout((Buffer("F32", 8, 4 * count),), (Tensor("other", "F32", (count,), 0),))


class Retypes(Flat):
    def layout(self, count: int) -> Layout:
        return Layout((Buffer("F32", 8, 4 * count),), (Tensor("values", "I32", (count,), 0),))


class Reverses(Flat):
    def layout(self, count: int) -> Layout:
        buffer = Buffer("F32", 8, 4 * count, big_endian=True)
        return Layout((buffer,), (Tensor("values", "F32", (count,), 0),))


class Counts(Flat):
    scans = itertools.count()

    def layout(self, count: int) -> Layout:
        layout = super().layout(count)
        return Layout(layout.buffers, (layout.tensors[0]._replace(name=str(next(self.scans))),))


class LooksBehindThePart(Flat):
    def scan(self, file: Source, context: ScanContext) -> Layout:
        assert not hasattr(file, "_parent"), "a part is read like any other source"
        return super().scan(file, context)


class NeedsAFramework(Flat):
    def layout(self, count: int) -> Layout:
        sys.modules["torch"] = types.ModuleType("torch")  # in the process of the check only
        return super().layout(count)


class Greedy(Flat):
    def layout(self, count: int) -> Layout:
        assert bytearray(2**23)
        return super().layout(count)


class Credulous(Flat):
    def scan(self, file: Source, context: ScanContext) -> Layout:
        if file.size >= 8:
            bytearray(min(2**24, *struct.unpack("<I", file.read(4, 4))))
        return super().scan(file, context)


class Unbounded(Flat):
    def scan(self, file: Source, context: ScanContext) -> Layout:
        return self.layout(*struct.unpack("<I", bytes(file.read(4, file.size - 4))[:4]))


class Careless(Flat):
    def scan(self, file: Source, context: ScanContext) -> Layout:
        try:
            return super().scan(file, context)
        except CheckpointError as fault:
            raise ValueError("not as expected") from fault


class StaleChecksum(Flat):
    splice = CheckpointFormat.splice


class Shortens(Flat):
    def splice(self, template: Source, *rest: Any) -> Source:
        return super().splice(template, *rest).window(0, template.size - 1)


class Forgets(Flat):
    def splice(
        self,
        template: Source,
        layout: Layout,
        changed: Mapping[int, Source],
        context: ScanContext,
    ) -> Source:
        return template


class NamedAsABuiltin(Flat):
    name = "safetensors"


@pytest.mark.parametrize("check", [c for c in checks(FormatConformance) if "written" not in c])
def test_sound_format_passes(check: str, tmp_path: Path) -> None:
    run(FlatKit(Flat()), check, tmp_path)


@pytest.mark.parametrize(
    ("format", "check"),
    [
        (KnowsTheSuffix, "samples_are_found_by_content"),
        (NamedAsABuiltin, "samples_are_found_by_content"),
        (LeavesTheFile, "samples_have_valid_groups"),
        (FindsNothing, "samples_have_valid_groups"),
        (Renames, "names_and_values_are_as_expected"),
        (Retypes, "names_and_values_are_as_expected"),
        (Reverses, "names_and_values_are_as_expected"),
        (Counts, "scan_is_the_same_for_every_source"),
        (LooksBehindThePart, "scan_is_the_same_for_every_source"),
        (NeedsAFramework, "imports_no_framework"),
        (Greedy, "memory_is_bounded"),
        (Shortens, "splice_of_the_same_values_gives_the_same_bytes"),
        (StaleChecksum, "splice_of_other_values_reads_back"),
        (Forgets, "splice_of_other_values_reads_back"),
        (Careless, "truncated_files_are_refused_or_read"),
        (Unbounded, "truncated_files_are_refused_or_read"),
        (Careless, "damaged_files_are_refused_or_read"),
        (Credulous, "damaged_files_are_refused_or_read"),
        (Careless, "noise_is_refused_or_read"),
    ],
)
def test_broken_format_is_caught(format: type[Flat], check: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        run(FlatKit(format()), f"test_{check}", tmp_path)


class Packed(CheckpointFormat):
    """The magic PACK, a count of F32, the numbers as a frame of zstd."""

    name = "packed"
    more = 0
    coding = "zstd"

    def matches(self, head: bytes, path: str) -> bool:
        return head.startswith(b"PACK")

    def scan(self, file: Source, context: ScanContext) -> Layout:
        if file.size < 8:
            raise CheckpointError(f"Expected 8 bytes, found {file.size}")
        (count,) = struct.unpack("<I", file.read(4, 4))
        decoded = 4 * count + self.more
        buffer = Buffer("F32", 8, file.size - 8, coding=self.coding, decoded=decoded)
        return Layout((buffer,), (Tensor("values", "F32", (count,), 0),))


class PackedKit(FlatKit):
    numbers = np.arange(3000, dtype="<f4").tobytes()

    def samples(self) -> Mapping[str, bytes]:
        return {"some.pack": b"PACK" + struct.pack("<I", 3000) + compress_text(self.numbers)}

    def oracle(self, file: Path) -> Mapping[str, Value]:
        return {"values": Value("F32", (3000,), self.numbers)}


class CountsMore(Packed):
    more = 4


class NamesNoCoding(Packed):
    coding = "gzip"


OPENED = "test_coded_buffers_can_be_opened_and_given_back"


@pytest.mark.parametrize("check", [c for c in checks(FormatConformance) if "written" not in c])
def test_sound_format_of_frames_passes(check: str, tmp_path: Path) -> None:
    run(PackedKit(Packed()), check, tmp_path)


@pytest.mark.parametrize("format", [CountsMore, NamesNoCoding])
def test_broken_format_of_frames_is_caught(format: type[Packed], tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        run(PackedKit(format()), OPENED, tmp_path)


class Padded(PackedKit):
    """A byte follows the frame, so that it cannot be given back."""

    def samples(self) -> Mapping[str, bytes]:
        return {name: data + b"x" for name, data in super().samples().items()}


def test_frames_that_stay_closed_are_caught(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="found none"):
        run(Padded(Packed()), OPENED, tmp_path)


class Writing(Flat):
    def write(self, tensors: Mapping[str, Any], template: Source | None, out: Any) -> None:
        value = tensors["values"].data
        out.write(flat(bytes(value.read(0, value.size))))


class WritingNothing(Flat):
    def write(self, tensors: Mapping[str, Any], template: Source | None, out: Any) -> None:
        out.write(flat(b""))


def test_written_files_are_read_back(tmp_path: Path) -> None:
    kit = FlatKit(Writing())
    kit.writes = True
    kit.test_written_files_read_back(tmp_path)
    kit = FlatKit(WritingNothing())
    kit.writes = True
    with pytest.raises(AssertionError):
        kit.test_written_files_read_back(tmp_path)
