"""What every serializer must hold: subclass :class:`SerializerConformance`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from git_theta.dtypes import BITS
from git_theta.errors import PackError
from git_theta.serializers.interface import Serializer
from git_theta.testing.blocks import lengths, typical_blocks, weights
from git_theta.testing.hostile import attempt, damaged, noise, truncations
from git_theta.testing.laziness import frameworks_imported
from git_theta.testing.memory import at_most
from git_theta.testing.registered import plugins_with

MAX_BLOCK = 16 * 2**20
"""Bytes that a block may have at most."""


class SerializerConformance:
    """The checks of a serializer.

    Examples
    --------
    >>> from git_theta.serializers.planes import Planes
    >>> class TestPlanes(SerializerConformance):
    ...     "Byte planes, on the blocks that the kit makes."
    ...     serializer = Planes()
    """

    serializer: Serializer
    """The serializer under test."""
    dtypes: Iterable[str] = tuple(BITS)
    """The dtypes to try."""
    memory_factor: int = 4
    """How many times the bytes of a block its decoding may allocate."""
    memory_slack: int = 2**20
    """Bytes that decoding may allocate besides."""
    damages: int = 300
    """Damaged copies to make of each encoded block."""

    def blocks(self, dtype: str) -> Iterator[tuple[str, bytes]]:
        """Blocks of ``dtype`` to try, each with its description; extend it by your hard cases."""
        for nbytes in lengths(dtype):
            yield from typical_blocks(dtype, nbytes)

    def hostile(self) -> Iterable[tuple[bytes, str, int]]:
        """Hostile input of your own: data, dtype, bytes to decode to."""
        return ()

    # ---- valid blocks ----------------------------------------------------------------------------

    def test_is_found_by_its_name(self) -> None:
        """The name is valid and not taken."""
        name = self.serializer.name
        found = plugins_with("theta_serializers", self.serializer).serializer(name)
        assert type(found) is type(self.serializer)

    def test_block_bytes_are_within_limits(self) -> None:
        """Blocks are multiples of 16 bytes, at most 16 MiB."""
        for dtype in self.dtypes:
            nbytes = self.serializer.block_bytes(dtype)
            assert 0 < nbytes <= MAX_BLOCK, f"{dtype}: expected at most 16 MiB, found {nbytes}"
            assert nbytes % 16 == 0, f"{dtype}: expected a multiple of 16 bytes, found {nbytes}"

    def test_blocks_come_back_exactly(self) -> None:
        """Every block decodes to itself, from bytes and from views, and is not written to."""
        for dtype in self.dtypes:
            for what, block in self.blocks(dtype):
                encoded = bytes(self.serializer.encode(block, dtype))
                memory = bytearray(block)
                again = bytes(self.serializer.encode(memoryview(memory).toreadonly(), dtype))
                assert again == encoded, f"{what}: encoded in another way as a view"
                assert memory == block, f"{what}: the block was written to"
                for data in (encoded, memoryview(encoded)):
                    decoded = self.serializer.decode(data, dtype, len(block))
                    assert bytes(decoded) == block, f"{what}: decoded to something else"

    def test_full_blocks_come_back_exactly(self) -> None:
        """So do blocks of the largest size that the kernel will ask for."""
        for dtype in self.dtypes:
            block = weights(dtype, self.serializer.block_bytes(dtype))
            encoded = bytes(self.serializer.encode(block, dtype))
            decoded = self.serializer.decode(encoded, dtype, len(block))
            assert bytes(decoded) == block, f"{dtype}: a full block decoded to something else"

    def test_same_block_gives_same_bytes_in_all_threads(self) -> None:
        """Encoding and decoding are deterministic, and safe in several threads."""
        for dtype in self.dtypes:
            blocks = [block for _, block in self.blocks(dtype)]
            alone = [self._encode(dtype, block) for block in blocks]
            work = blocks * 4
            with ThreadPoolExecutor(8) as pool:
                encoded = list(pool.map(partial(self._encode, dtype), work))
                decoded = list(pool.map(partial(self._decode, dtype), encoded, map(len, work)))
            assert encoded == alone * 4, f"{dtype}: threads encode in another way"
            assert decoded == work, f"{dtype}: threads decode to something else"

    def test_imports_no_framework(self) -> None:
        """A round trip loads no framework."""
        found = frameworks_imported(_round_trip, self.serializer, tuple(self.dtypes))
        assert not found, f"Expected no framework, found {', '.join(found)}"

    # ---- hostile data ----------------------------------------------------------------------------

    def test_truncated_data_is_refused_or_has_the_right_length(self) -> None:
        """Data cut anywhere is a PackError, or decodes to as many bytes as were asked for."""
        for dtype, block, encoded in self._encoded():
            self._survives(truncations(encoded, 60), dtype, len(block))
            self._survives([("too many bytes", encoded + b"\0" * 9)], dtype, len(block))

    def test_damaged_data_is_refused_or_has_the_right_length(self) -> None:
        """So are data with flipped bits and absurd sizes, noise, and what the author supplies."""
        for dtype, block, encoded in self._encoded():
            self._survives(damaged(encoded, self.damages), dtype, len(block))
            structure = range(min(len(encoded), 32))  # sizes tend to stand at the beginning
            self._survives(damaged(encoded, self.damages, where=[structure]), dtype, len(block))
            self._survives(noise(encoded), dtype, len(block))
        for number, (data, dtype, nbytes) in enumerate(self.hostile()):
            self._survives([(f"hostile input {number}", data)], dtype, nbytes)

    def test_wrong_lengths_are_refused_or_kept_to(self) -> None:
        """A wrong claim of bytes is a PackError, or exactly that many bytes."""
        for dtype, block, encoded in self._encoded():
            n = len(block)
            for nbytes in (0, 1, n // 2, n - 1, n + 1, 2 * n, MAX_BLOCK):
                self._survives([(f"claim of {nbytes} bytes", encoded)], dtype, nbytes)

    def _encoded(self) -> Iterator[tuple[str, bytes, bytes]]:
        for dtype in self.dtypes:
            nbytes = lengths(dtype)[-2]
            for what, block in typical_blocks(dtype, nbytes):
                if what.endswith(("weights", "zeros")):
                    yield dtype, block, bytes(self.serializer.encode(block, dtype))

    def _survives(self, inputs: Iterable[tuple[str, bytes]], dtype: str, nbytes: int) -> None:
        bound = self.memory_factor * nbytes + self.memory_slack
        for what, data in inputs:
            where = f"{what} of a {dtype} block"
            with at_most(bound, where):
                decode = partial(self.serializer.decode, data, dtype, nbytes)
                decoded = attempt(decode, PackError, where)
            found = None if decoded is None else memoryview(decoded).nbytes
            assert found in (None, nbytes), f"{where}: expected {nbytes} bytes, found {found}"

    def _encode(self, dtype: str, block: bytes) -> bytes:
        return bytes(self.serializer.encode(block, dtype))

    def _decode(self, dtype: str, data: bytes, nbytes: int) -> bytes:
        return bytes(self.serializer.decode(data, dtype, nbytes))


def _round_trip(serializer: Serializer, dtypes: tuple[str, ...]) -> None:
    for dtype in dtypes:
        block = weights(dtype, lengths(dtype)[-1])
        serializer.decode(serializer.encode(block, dtype), dtype, len(block))
