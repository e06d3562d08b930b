"""The kit for serializers: what keeps the promises passes, each broken promise is caught."""

from __future__ import annotations

import sys
import threading
import types
import zlib
from pathlib import Path

import numpy as np
import pytest
from kit_runner import checks, run

from git_theta.errors import PackError, PluginError
from git_theta.serializers.interface import Serializer
from git_theta.testing import (
    SerializerConformance,
)


class Deflate(Serializer):
    """The bytes, deflated."""

    name = "deflate"

    def encode(self, block: bytes | memoryview, dtype: str) -> bytes:
        return zlib.compress(block, 1)

    def decode(self, data: bytes | memoryview, dtype: str, nbytes: int) -> bytes:
        machine = zlib.decompressobj()
        try:
            block = machine.decompress(data, nbytes + 1)
        except zlib.error as fault:
            raise PackError(f"Expected a deflated block: {fault}") from fault
        if len(block) != nbytes or not machine.eof or machine.unused_data:
            raise PackError(f"Expected {nbytes} bytes, found {len(block)}")
        return block


class DeflateKit(SerializerConformance):
    dtypes = ("F32", "U8", "F4", "C128")
    damages = 60

    def __init__(self, serializer: Serializer) -> None:
        self.serializer = serializer

    def hostile(self) -> list[tuple[bytes, str, int]]:
        return [(zlib.compress(bytes(2**24)), "U8", 1000)]


class DropsTails(Deflate):
    def encode(self, block: bytes | memoryview, dtype: str) -> bytes:
        return super().encode(bytes(block[: len(block) // 2 * 2]).ljust(len(block), b"\0"), dtype)


class QuietsNans(Deflate):
    def encode(self, block: bytes | memoryview, dtype: str) -> bytes:
        numbers = np.frombuffer(block, "<f4" if dtype == "F32" else "u1").copy()
        if dtype == "F32":
            numbers[np.isnan(numbers)] = np.nan
        return super().encode(numbers.tobytes(), dtype)


class DropsTheLastOfAFullBlock(Deflate):
    def encode(self, block: bytes | memoryview, dtype: str) -> bytes:
        full = len(block) == self.block_bytes(dtype)
        return super().encode(bytes(block[:-1]) + b"!" if full else block, dtype)


class NeedsBytes(Deflate):
    def decode(self, data: bytes | memoryview, dtype: str, nbytes: int) -> bytes:
        assert isinstance(data, bytes)
        return super().decode(data, dtype, nbytes)


class WritesToTheBlock(Deflate):
    def encode(self, block: bytes | memoryview, dtype: str) -> bytes:
        if isinstance(block, memoryview) and isinstance(block.obj, bytearray) and block.obj:
            block.obj[0] ^= 1
        return super().encode(block, dtype)


class OddBlocks(Deflate):
    def block_bytes(self, dtype: str) -> int:
        return 1000


class HugeBlocks(Deflate):
    def block_bytes(self, dtype: str) -> int:
        return 2**25


class DependsOnTheThread(Deflate):
    def encode(self, block: bytes | memoryview, dtype: str) -> bytes:
        main = threading.current_thread() is threading.main_thread()
        return zlib.compress(block, 1 if main else 0)


class SerializerOfAFramework(Deflate):
    def encode(self, block: bytes | memoryview, dtype: str) -> bytes:
        sys.modules["jax"] = types.ModuleType("jax")
        return super().encode(block, dtype)


class RaisesZlibErrors(Deflate):
    def decode(self, data: bytes | memoryview, dtype: str, nbytes: int) -> bytes:
        return zlib.decompress(data)[:nbytes].ljust(nbytes)


class IgnoresLengths(Deflate):
    def decode(self, data: bytes | memoryview, dtype: str, nbytes: int) -> bytes:
        try:
            return zlib.decompress(data)
        except zlib.error as fault:
            raise PackError(str(fault)) from fault


class PlantsABomb(Deflate):
    def decode(self, data: bytes | memoryview, dtype: str, nbytes: int) -> bytes:
        try:
            block = zlib.decompress(data)
        except zlib.error as fault:
            raise PackError(str(fault)) from fault
        if len(block) != nbytes:
            raise PackError(f"Expected {nbytes} bytes, found {len(block)}")
        return block


class SerializerNamedAsABuiltin(Deflate):
    name = "raw"


@pytest.mark.parametrize("check", checks(SerializerConformance))
def test_sound_serializer_passes(check: str, tmp_path: Path) -> None:
    run(DeflateKit(Deflate()), check, tmp_path)


@pytest.mark.parametrize(
    ("serializer", "check"),
    [
        (SerializerNamedAsABuiltin, "is_found_by_its_name"),
        (OddBlocks, "block_bytes_are_within_limits"),
        (HugeBlocks, "block_bytes_are_within_limits"),
        (DropsTails, "blocks_come_back_exactly"),
        (QuietsNans, "blocks_come_back_exactly"),
        (NeedsBytes, "blocks_come_back_exactly"),
        (WritesToTheBlock, "blocks_come_back_exactly"),
        (DropsTheLastOfAFullBlock, "full_blocks_come_back_exactly"),
        (DependsOnTheThread, "same_block_gives_same_bytes_in_all_threads"),
        (SerializerOfAFramework, "imports_no_framework"),
        (RaisesZlibErrors, "truncated_data_is_refused_or_has_the_right_length"),
        (RaisesZlibErrors, "damaged_data_is_refused_or_has_the_right_length"),
        (PlantsABomb, "damaged_data_is_refused_or_has_the_right_length"),
        (IgnoresLengths, "wrong_lengths_are_refused_or_kept_to"),
    ],
)
def test_broken_serializer_is_caught(serializer: type[Deflate], check: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        run(DeflateKit(serializer()), f"test_{check}", tmp_path)


@pytest.mark.parametrize("name", ["", "Upper", "with space", "../up"])
def test_invalid_name_is_caught(name: str) -> None:
    named = Deflate()
    named.name = name
    with pytest.raises(PluginError, match="lower case"):
        DeflateKit(named).test_is_found_by_its_name()
