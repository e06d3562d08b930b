"""The kit for update types: what keeps the promises passes, each broken promise is caught."""

from __future__ import annotations

import itertools
import struct
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from kit_runner import checks, run

from git_theta.errors import PackError, PluginError
from git_theta.source import BytesSource, Source
from git_theta.testing import (
    Pair,
    UpdateTypeConformance,
)
from git_theta.updates.interface import Numbers, Part, Update, UpdateType


class Xor(UpdateType):
    """XOR with a base that is at least as long; the length is in the params."""

    name = "xor"
    max_bases = 1

    def encode(self, new: Numbers, bases: Sequence[Numbers]) -> Update | None:
        (base,) = bases
        if base.data.size < new.data.size or not new.data.size:
            return None
        part = Part(new.dtype, Xored(new.data, base.data))
        return Update((part,), struct.pack("<Q", new.data.size))

    def decode(self, update: Update, bases: Sequence[Source], dtype: str, nbytes: int) -> Source:
        if (len(bases), len(update.parts)) != (1, 1) or update.params != struct.pack("<Q", nbytes):
            raise PackError("Expected one part, a base and a length")
        part = update.parts[0]
        if (part.dtype, part.data.size) != (dtype, nbytes) or bases[0].size < nbytes:
            raise PackError(f"Expected {nbytes} bytes, found {part.data.size}")
        return Xored(part.data, bases[0])


class Xored(Source):
    def __init__(self, left: Source, right: Source) -> None:
        self.left, self.right, self.size = left, right, left.size

    def _read(self, offset: int, nbytes: int) -> bytes:
        left = np.frombuffer(self.left.read(offset, nbytes), np.uint8)
        return (left ^ np.frombuffer(self.right.read(offset, nbytes), np.uint8)).tobytes()


class XorKit(UpdateTypeConformance):
    dtypes = ("F32", "U8")
    large_bytes = 2**24
    memory_bound = 2**24 - 2**20
    damages = 30

    def __init__(self, update_type: UpdateType) -> None:
        self.update_type = update_type

    def pairs(self) -> dict[str, Pair]:
        return {"numbers": Pair(bytes(range(160)), bytes(range(60, 220)), "F32")}


class NeverPays(Xor):
    def encode(self, new: Numbers, bases: Sequence[Numbers]) -> Update | None:
        return None


class LongParams(Xor):
    def encode(self, new: Numbers, bases: Sequence[Numbers]) -> Update | None:
        update = super().encode(new, bases)
        return update and Update(update.parts, bytes(2**17))


class HalfNumbers(Xor):
    def encode(self, new: Numbers, bases: Sequence[Numbers]) -> Update | None:
        update = super().encode(new, bases)
        return update and Update((*update.parts, Part("F32", BytesSource(b"odd"))), update.params)


class ForgetsTheBase(Xor):
    def decode(self, update: Update, bases: Sequence[Source], dtype: str, nbytes: int) -> Source:
        super().decode(update, bases, dtype, nbytes)
        return update.parts[0].data


class IgnoresOffsets(Xor):
    def decode(self, update: Update, bases: Sequence[Source], dtype: str, nbytes: int) -> Source:
        decoded = super().decode(update, bases, dtype, nbytes)
        read = decoded._read
        cast(Any, decoded)._read = lambda offset, n: read(0, n)
        return decoded


class CannotGrow(Xor):
    def encode(self, new: Numbers, bases: Sequence[Numbers]) -> Update | None:
        (base,) = bases
        shorter = new.data.window(0, min(new.data.size, base.data.size))
        return Update((Part(new.dtype, Xored(shorter, base.data)),))

    def decode(self, update: Update, bases: Sequence[Source], dtype: str, nbytes: int) -> Source:
        return Xored(update.parts[0].data, bases[0])


class AlwaysAnother(Xor):
    calls = itertools.count()

    def encode(self, new: Numbers, bases: Sequence[Numbers]) -> Update | None:
        update = super().encode(new, bases)
        return update and Update(update.parts, update.params + bytes([next(self.calls) % 256]))


class UpdateOfAFramework(Xor):
    def encode(self, new: Numbers, bases: Sequence[Numbers]) -> Update | None:
        sys.modules["flax"] = types.ModuleType("flax")
        return super().encode(new, bases)


class ReadsAllAtOnce(Xor):
    def decode(self, update: Update, bases: Sequence[Source], dtype: str, nbytes: int) -> Source:
        decoded = super().decode(update, bases, dtype, nbytes)
        return BytesSource(decoded.read(0, nbytes))


class UnpacksParams(Xor):
    def decode(self, update: Update, bases: Sequence[Source], dtype: str, nbytes: int) -> Source:
        (length,) = struct.unpack("<Q", update.params)
        update = Update(update.parts, struct.pack("<Q", length))
        return super().decode(update, bases, dtype, nbytes)


class TrustsParts(Xor):
    def decode(self, update: Update, bases: Sequence[Source], dtype: str, nbytes: int) -> Source:
        return Xored(update.parts[0].data, bases[0])


class TrustsLengths(Xor):
    def decode(self, update: Update, bases: Sequence[Source], dtype: str, nbytes: int) -> Source:
        assert bytearray(min(nbytes, 2**25))
        return super().decode(update, bases, dtype, nbytes)


@pytest.mark.parametrize("check", checks(UpdateTypeConformance))
def test_sound_update_type_passes(check: str, tmp_path: Path) -> None:
    run(XorKit(Xor()), check, tmp_path)


@pytest.mark.parametrize(
    ("update_type", "check"),
    [
        (NeverPays, "pairs_are_encoded"),
        (LongParams, "pairs_are_encoded"),
        (HalfNumbers, "pairs_are_encoded"),
        (ForgetsTheBase, "decoding_gives_the_exact_bytes"),
        (IgnoresOffsets, "decoding_gives_the_exact_bytes"),
        (CannotGrow, "decoding_gives_the_exact_bytes"),
        (AlwaysAnother, "same_pair_gives_the_same_update"),
        (UpdateOfAFramework, "imports_no_framework"),
        (ReadsAllAtOnce, "memory_is_bounded"),
        (UnpacksParams, "hostile_params_are_refused"),
        (TrustsParts, "hostile_parts_are_refused"),
        (TrustsParts, "wrong_lengths_and_bases_are_refused"),
        (TrustsLengths, "wrong_lengths_and_bases_are_refused"),
    ],
)
def test_broken_update_type_is_caught(update_type: type[Xor], check: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        run(XorKit(update_type()), f"test_{check}", tmp_path)


@pytest.mark.parametrize("name", ["", "Upper", "with space", "../up"])
def test_invalid_name_is_caught(name: str) -> None:
    named = Xor()
    named.name = name
    with pytest.raises(PluginError, match="lower case"):
        XorKit(named).test_is_found_by_its_name()
