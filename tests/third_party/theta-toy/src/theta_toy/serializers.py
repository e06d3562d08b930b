"""Blocks deflated by zlib."""

from __future__ import annotations

import zlib

from git_theta.errors import PackError
from git_theta.serializers.interface import Serializer


class Deflate(Serializer):
    """zlib at its fastest."""

    name = "toy-deflate"

    def encode(self, block: bytes | memoryview, dtype: str) -> bytes:
        """Deflate a block."""
        return zlib.compress(block, 1)

    def decode(self, data: bytes | memoryview, dtype: str, nbytes: int) -> bytes:
        """Inflate a block, one byte further than it may be at most."""
        machine = zlib.decompressobj()
        try:
            block = machine.decompress(data, nbytes + 1)
        except zlib.error as fault:
            raise PackError(f"Expected a deflated block of {nbytes} bytes: {fault}") from fault
        if len(block) != nbytes or not machine.eof or machine.unused_data:
            raise PackError(f"Expected a deflated block of {nbytes} bytes, found {len(block)}")
        return block
