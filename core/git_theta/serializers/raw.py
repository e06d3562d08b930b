"""Numbers as they are: for what does not compress, or is compressed already."""

from __future__ import annotations

from git_theta.errors import PackError
from git_theta.serializers.interface import Serializer


class Raw(Serializer):
    """The bytes themselves."""

    name = "raw"

    def encode(self, block: bytes | memoryview, dtype: str) -> bytes | memoryview:
        """Return the block."""
        return block

    def decode(self, data: bytes | memoryview, dtype: str, nbytes: int) -> bytes | memoryview:
        """Return the data, which must be ``nbytes`` long."""
        if len(data) != nbytes:
            raise PackError(f"Expected a raw block of {nbytes} bytes, found {len(data)}")
        return data
