"""What every update type must hold: subclass :class:`UpdateTypeConformance`."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from git_theta.dtypes import BITS
from git_theta.errors import PackError
from git_theta.source import BytesSource, Source
from git_theta.testing.blocks import weights
from git_theta.testing.hostile import attempt, damaged, noise, truncations
from git_theta.testing.laziness import frameworks_imported
from git_theta.testing.memory import at_most
from git_theta.testing.registered import plugins_with
from git_theta.updates.interface import Numbers, Part, Update, UpdateType

MAX_PARAMS = 64 * 2**10
"""Bytes of params that an update may have at most."""

HUGE = 2**50
"""A claim of bytes that no machine should believe; every dtype fills it."""


class Pair(NamedTuple):
    """A buffer and what it is told in terms of."""

    new: bytes
    """The buffer, little-endian numbers."""
    base: bytes
    """The earlier buffer, which may be of another length."""
    dtype: str
    """safetensors' name of the dtype of all."""
    shape: tuple[int, ...] | None = None
    """Elements of the buffer by dimension; None: one dimension."""
    base_shape: tuple[int, ...] | None = None
    """Those of the earlier buffer."""
    others: tuple[bytes, ...] = ()
    """Further earlier buffers, for types that stand on several."""
    base_dtype: str | None = None
    """dtype of the earlier buffers, for types that stand on other dtypes; None: that of all."""


class UpdateTypeConformance:
    """The checks of an update type.

    Examples
    --------
    >>> from git_theta.updates.patch import Patch
    >>> class TestPatch(UpdateTypeConformance):
    ...     "Patches pay for small runs of U8."
    ...     update_type = Patch()
    ...     def pairs(self):
    ...         return {"one byte": Pair(bytes(99) + b"!", bytes(100), "U8")}
    """

    update_type: UpdateType
    """The update type under test."""
    dtypes: Iterable[str] = ("F32", "BF16", "F16", "F64", "I64", "U8", "BOOL", "C64", "F4")
    """The dtypes to try besides :meth:`pairs`."""
    large_bytes: int = 64 * 2**20
    """Length of the buffer on which memory is measured."""
    memory_bound: int = 32 * 2**20
    """Bytes that encoding and decoding may allocate, whatever the length."""
    damages: int = 200
    """Damaged copies to make of each part."""

    def pairs(self) -> dict[str, Pair]:
        """Pairs for which an update must be found, each with its description, up to 1 MiB."""
        raise NotImplementedError("Expected pairs() to return pairs that pay")

    # ---- valid updates ---------------------------------------------------------------------------

    def test_is_found_by_its_name(self) -> None:
        """The name is valid and not taken."""
        name = self.update_type.name
        found = plugins_with("theta_update_types", self.update_type).update_type(name)
        assert type(found) is type(self.update_type)

    def test_pairs_are_encoded(self) -> None:
        """The author's pairs pay, and their updates are ones that the kernel can store."""
        assert self.pairs(), "Expected pairs() to return pairs that pay"
        for what, pair in self.pairs().items():
            update = self._encode(pair)
            assert update is not None, f"{what}: expected an update, found None"
            assert len(update.params) <= MAX_PARAMS, f"{what}: {len(update.params)} params"
            for part in update.parts:
                assert part.data.size * 8 % BITS[part.dtype] == 0, f"{what}: half a {part.dtype}"

    def test_decoding_gives_the_exact_bytes(self) -> None:
        """Whatever was encoded comes back, whole and in windows, from several threads."""
        for what, pair in (*self.pairs().items(), *self._made()):
            update = self._encode(pair)
            if update is not None:
                decoded = self._decode(_stored(update), pair)
                assert decoded.size == len(pair.new), f"{what}: {decoded.size} bytes"
                assert bytes(decoded.read(0, decoded.size)) == pair.new, f"{what}: not the same"
                _assert_windows(what, decoded, pair.new)

    def test_same_pair_gives_the_same_update(self) -> None:
        """Encoding is deterministic, and safe in several threads."""
        for what, pair in self.pairs().items():
            alone = _comparable(self._encode(pair))
            with ThreadPoolExecutor(4) as pool:
                found = list(pool.map(self._encode, [pair] * 8))
            assert all(_comparable(update) == alone for update in found), f"{what}: updates differ"

    def test_imports_no_framework(self) -> None:
        """Encoding and decoding load no framework."""
        pairs = list(self.pairs().values())
        found = frameworks_imported(_round_trip, self.update_type, pairs)
        assert not found, f"Expected no framework, found {', '.join(found)}"

    def test_memory_is_bounded(self) -> None:
        """A large buffer is encoded and decoded block by block; refusing it is fine."""
        for dtype, old in {(pair.dtype, pair.base_dtype) for pair in self.pairs().values()}:
            old = old or dtype
            base = _Repeated(weights(old, 2**20), self.large_bytes * BITS[old] // BITS[dtype])
            new = _Repeated(weights(dtype, 2**20, seed=1), self.large_bytes)
            with at_most(self.memory_bound, f"an update of {self.large_bytes} bytes of {dtype}"):
                update = self.update_type.encode(
                    _flat(new, dtype), self._offered([_flat(base, old)])
                )
                if update is None:
                    continue
                bases = [base] if self.update_type.max_bases else []
                decoded = self.update_type.decode(update, bases, dtype, new.size)
                same = all(
                    a == b for a, b in zip(decoded.blocks(2**20), new.blocks(2**20), strict=True)
                )
            assert same, f"{dtype}: a large buffer decoded to something else"

    # ---- hostile updates -------------------------------------------------------------------------

    def test_hostile_params_are_refused(self) -> None:
        """Other params are a PackError, or as many bytes as were asked for."""
        for what, pair, update in self._updates():
            copies = [*truncations(update.params, 40), *damaged(update.params, self.damages)]
            for how, params in (*copies, *noise(update.params), ("64 KiB", bytes(MAX_PARAMS))):
                self._survives(f"{what}, params: {how}", update._replace(params=params), pair)

    def test_hostile_parts_are_refused(self) -> None:
        """So are parts that are lost, doubled, of another dtype, cut or damaged."""
        for what, pair, update in self._updates():
            parts = update.parts
            self._survives(f"{what}, no parts", update._replace(parts=()), pair)
            self._survives(f"{what}, more parts", update._replace(parts=parts * 2), pair)
            for number, part in enumerate(parts):
                for how, other in self._hostile_parts(part):
                    changed = (*parts[:number], other, *parts[number + 1 :])
                    where = f"{what}, part {number}: {how}"
                    self._survives(where, update._replace(parts=changed), pair)

    def test_wrong_lengths_and_bases_are_refused(self) -> None:
        """So are wrong claims of bytes, huge ones too, and bases of another length."""
        for what, pair, update in self._updates():
            n = len(pair.new)
            for nbytes in (0, n // 2 // 16 * 16, n + 16, 2 * n, 1000 * n, HUGE):
                self._survives(f"{what}, {nbytes} claimed", update, pair, nbytes)
            for base in (b"", pair.base[: len(pair.base) // 32 * 16], pair.base * 2):
                where = f"{what}, a base of {len(base)} bytes"
                self._survives(where, update, pair._replace(base=base))

    def _hostile_parts(self, part: Part) -> Iterator[tuple[str, Part]]:
        data = bytes(part.data.read(0, part.data.size))
        copies = [*truncations(data, 40), *damaged(data, self.damages), *noise(data)]
        for how, copy in (*copies, ("more bytes", data + bytes(16))):
            yield how, part._replace(data=BytesSource(copy))
        for dtype in ("U8", "F32", "F64", "C128"):
            yield f"dtype {dtype}", part._replace(dtype=dtype)

    def _survives(self, what: str, update: Update, pair: Pair, nbytes: int | None = None) -> None:
        claimed = len(pair.new) if nbytes is None else nbytes
        with at_most(self.memory_bound, what):
            attempt(partial(self._read_hostile, update, pair, claimed), PackError, what)

    def _read_hostile(self, update: Update, pair: Pair, nbytes: int) -> None:
        decoded = self.update_type.decode(update, self._bases(update, pair), pair.dtype, nbytes)
        assert decoded.size == nbytes, f"Expected {nbytes} bytes, found {decoded.size}"
        length = min(nbytes, 2**20)
        for offset in (0, (nbytes - length) // 2 // 16 * 16, nbytes - length):
            found = len(decoded.read(offset, length))
            assert found == length, f"Expected {length} bytes at {offset}, found {found}"

    # ---- what the checks are made of -------------------------------------------------------------

    def _offered(self, bases: Sequence[Numbers]) -> Sequence[Numbers]:
        return bases[: self.update_type.max_bases] if self.update_type.max_bases < 2 else bases

    def _encode(self, pair: Pair) -> Update | None:
        return self.update_type.encode(_new(pair), self._offered(_bases(pair)))

    def _bases(self, update: Update, pair: Pair) -> Sequence[Source]:
        offered = [base.data for base in self._offered(_bases(pair))]
        return [offered[number] for number in _uses(update, offered)]

    def _decode(self, update: Update, pair: Pair) -> Source:
        bases = self._bases(update, pair)
        return self.update_type.decode(update, bases, pair.dtype, len(pair.new))

    def _updates(self) -> Iterator[tuple[str, Pair, Update]]:
        for what, pair in self.pairs().items():
            update = self._encode(pair)
            assert update is not None, f"{what}: expected an update, found None"
            yield what, pair, _stored(update)

    def _made(self) -> Iterator[tuple[str, Pair]]:
        """Pairs that may not pay: equal, near, sparse, unlike, of other lengths, empty."""
        for dtype in self.dtypes:
            base = weights(dtype, 4800)
            near = bytes(byte ^ (number % 5 == 0) for number, byte in enumerate(base))
            sparse = base[:480] + near[480:496] + base[496:]
            unlike = random.Random(dtype).randbytes(len(base))
            for how, new in {
                "equal": base, "near": near, "sparse": sparse, "unlike": unlike,
                "longer": near + unlike[:480], "shorter": near[:-480], "empty": b"",
            }.items():  # fmt: skip
                yield f"{dtype}, {how}", Pair(new, base, dtype)
            yield f"{dtype}, of an empty base", Pair(near, b"", dtype)


class _Repeated(Source):
    """A block of bytes, again and again: large and yet small."""

    def __init__(self, block: bytes, size: int) -> None:
        self._twice, self._period, self.size = block * 2, len(block), size

    def _read(self, offset: int, nbytes: int) -> bytes:
        start = offset % self._period
        if start + nbytes <= len(self._twice):
            return self._twice[start : start + nbytes]
        return (self._twice * (nbytes // self._period + 1))[start : start + nbytes]


def _flat(data: Source, dtype: str) -> Numbers:
    return Numbers(data, dtype, (data.size * 8 // BITS[dtype],))


def _new(pair: Pair) -> Numbers:
    flat = _flat(BytesSource(pair.new), pair.dtype)
    return flat if pair.shape is None else flat._replace(shape=pair.shape)


def _bases(pair: Pair) -> Sequence[Numbers]:
    dtype = pair.base_dtype or pair.dtype
    bases = [_flat(BytesSource(base), dtype) for base in (pair.base, *pair.others)]
    if pair.base_shape is not None:
        bases[0] = bases[0]._replace(shape=pair.base_shape)
    return bases


def _uses(update: Update, offered: Sequence[object]) -> Sequence[int]:
    return range(len(offered)) if update.uses is None else update.uses


def _stored(update: Update) -> Update:
    """The update as a pack gives it back: plain bytes, nothing that encoding left behind."""
    parts = (p._replace(data=BytesSource(bytes(p.data.read(0, p.data.size)))) for p in update.parts)
    return Update(tuple(parts), bytes(update.params), update.uses)


def _comparable(update: Update | None) -> object:
    assert update is not None, "Expected an update, found None"
    parts = [(p.dtype, p.serializer, bytes(p.data.read(0, p.data.size))) for p in update.parts]
    return parts, bytes(update.params), update.uses


def _assert_windows(what: str, decoded: Source, expected: bytes) -> None:
    choose = random.Random(len(expected))
    windows = []
    for _ in range(40):
        offset = choose.randrange(len(expected) + 1)
        windows.append((offset, choose.randrange(len(expected) - offset + 1)))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda window: bytes(decoded.read(*window)), windows))
    for (offset, nbytes), data in zip(windows, found, strict=True):
        assert data == expected[offset : offset + nbytes], f"{what}: {nbytes} bytes at {offset}"


def _round_trip(update_type: UpdateType, pairs: list[Pair]) -> None:
    for pair in pairs:
        offered = _bases(pair)
        offered = offered[: update_type.max_bases] if update_type.max_bases < 2 else offered
        update = update_type.encode(_new(pair), offered)
        if update is not None:
            bases = [offered[number].data for number in _uses(update, offered)]
            nbytes = len(pair.new)
            update_type.decode(update, bases, pair.dtype, nbytes).read(0, nbytes)
