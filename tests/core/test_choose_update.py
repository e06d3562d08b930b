"""Every installed update type is tried, and none can cost the user a buffer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from git_theta.digests import digest
from git_theta.errors import PackError
from git_theta.hookspecs import hookimpl
from git_theta.plugins import Plugin, Plugins
from git_theta.source import BytesSource, Source
from git_theta.storage.buffers import store_buffers
from git_theta.storage.decode import Reader
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import BufferId
from git_theta.storage.wanted import Wanted
from git_theta.updates.choose import choose
from git_theta.updates.grounds import Bases
from git_theta.updates.interface import Numbers, Part, Update, UpdateType, check_parts

RAMP = np.arange(20_000, dtype="<f4").tobytes()


class Ramp(UpdateType):
    """Numbers that grow by one, told by the first."""

    name = "ramp"
    max_bases = 0
    asked = 0

    def encode(self, new: Numbers, bases: Sequence[Numbers]) -> Update | None:
        type(self).asked += 1
        return Update((Part("F32", new.data.window(0, 4)),)) if new.dtype == "F32" else None

    def decode(self, update: Update, bases: Sequence[Source], dtype: str, nbytes: int) -> Source:
        check_parts(update, [(dtype, 4)])
        first = np.frombuffer(update.parts[0].data.read(0, 4), "<f4")[0]
        return BytesSource((first + np.arange(nbytes // 4)).astype("<f4").tobytes())


class Raising(Ramp):
    name = "raising"
    asked = 0

    def encode(self, new: Numbers, bases: Sequence[Numbers]) -> Update | None:
        super().encode(new, bases)
        raise ZeroDivisionError


class OnABase(Ramp):
    name = "on-a-base"
    max_bases = 1
    asked = 0


class Unstorable(Ramp):
    """Updates that no pack can hold."""

    name = "unstorable"

    def __init__(self, update: Update) -> None:
        self.update = update

    def encode(self, new: Numbers, bases: Sequence[Numbers]) -> Update | None:
        return self.update

    def decode(self, update: Update, bases: Sequence[Source], dtype: str, nbytes: int) -> Source:
        return BytesSource(RAMP)


def plugins_with(update_type: UpdateType) -> Plugins:
    """The builtins, and a plugin of somebody else."""

    class Module:
        @staticmethod
        @hookimpl
        def theta_update_types() -> list[UpdateType]:
            return [update_type]

    plugins = Plugins()
    plugins.register(Module, Plugin("module", "theta-somebody", "1.0"))
    return plugins


def identify(data: bytes) -> BufferId:
    return BufferId("F32", digest(BytesSource(data)))


def numbers(data: bytes | bytearray) -> Numbers:
    return Numbers(BytesSource(data), "F32", (len(data) // 4,))


def chosen(folder: Path, plugins: Plugins, data: bytes) -> str:
    with LocalStore(folder) as store:
        return choose(store, plugins, identify(data), numbers(data), Bases()).name


def test_update_type_of_a_plugin_stores_what_it_tells_shortest(tmp_path: Path) -> None:
    plugins, buffer = plugins_with(Ramp()), identify(RAMP)
    wanted = Wanted(((buffer, len(RAMP)),), BytesSource(RAMP))
    with LocalStore(tmp_path) as store:
        (location,) = store_buffers(store, plugins, [wanted]).values()
        pack = store.pack(location.pack)
        assert pack.payload(location.payload).update[0] == "ramp"
        assert pack.file.size < 1000
        assert bytes(Reader(store, plugins).open(buffer).read(0, len(RAMP))) == RAMP


def test_update_that_does_not_give_the_exact_bytes_is_not_taken(tmp_path: Path) -> None:
    other = RAMP[:-4] + b"\0\0\0\0"
    assert chosen(tmp_path, plugins_with(Ramp()), other) == "dense"


def test_update_type_that_raises_is_asked_once_and_reported(tmp_path: Path) -> None:
    plugins = plugins_with(Raising())
    assert [chosen(tmp_path, plugins, RAMP) for _ in range(3)] == ["dense"] * 3
    assert Raising.asked == 1
    (failure,) = (failure for failure in plugins.failures if "raising" in failure.what)
    assert isinstance(failure.error, ZeroDivisionError)


def test_update_type_that_needs_a_base_is_not_asked_without_one(tmp_path: Path) -> None:
    assert chosen(tmp_path, plugins_with(OnABase()), RAMP) == "dense"
    assert OnABase.asked == 0


@pytest.mark.parametrize(
    "update",
    [
        Update(()),
        Update((Part("F32", BytesSource(b"")),)),
        Update((Part("F32", BytesSource(b"odd")),)),
        Update((Part("F99", BytesSource(b"four")),)),
        Update((Part("F32", BytesSource(b"four"), serializer="no-such-serializer"),)),
        Update((Part("F32", BytesSource(b"four")),), bytes(2**17)),
        Update((Part("F32", BytesSource(b"four")),) * 99),
        Update((Part("F32", BytesSource(RAMP * 3)),)),
    ],
    ids=["no part", "empty", "odd", "dtype", "serializer", "params", "parts", "long"],
)
def test_update_that_no_pack_can_hold_is_not_taken(tmp_path: Path, update: Update) -> None:
    plugins = plugins_with(Unstorable(update))
    assert chosen(tmp_path, plugins, RAMP) == "dense"


def test_update_is_held_from_its_proof_to_its_pack(tmp_path: Path) -> None:
    file = bytearray(RAMP)
    plugins = plugins_with(Ramp())
    with LocalStore(tmp_path) as store:
        choice = choose(store, plugins, identify(RAMP), numbers(file), Bases())
        file[:4] = b"late"
        decoded = Ramp().decode(choice.update, (), "F32", len(RAMP))
    assert bytes(decoded.read(0, 4)) == RAMP[:4]


def test_errors_of_packs_count_as_no_update(tmp_path: Path) -> None:
    class Refusing(Ramp):
        name = "refusing"

        def decode(
            self, update: Update, bases: Sequence[Source], dtype: str, nbytes: int
        ) -> Source:
            raise PackError("Expected something else")

    assert chosen(tmp_path, plugins_with(Refusing()), RAMP) == "dense"
