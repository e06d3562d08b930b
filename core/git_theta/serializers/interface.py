"""What a serializer must be able to do. Plugin authors subclass :class:`Serializer`."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Serializer(ABC):
    """Turns a block of numbers into bytes and back.

    The kernel cuts what is to be stored into blocks and calls :meth:`encode` and :meth:`decode`
    from several threads. The same block must always give the same bytes.

    Examples
    --------
    >>> class Reversed(Serializer):
    ...     "Bytes from last to first."
    ...     name = "reversed"
    ...     def encode(self, block, dtype):
    ...         return bytes(block)[::-1]
    ...     def decode(self, data, dtype, nbytes):
    ...         return bytes(data)[::-1]
    """

    name: str
    """Name of the serializer in packs: lower case, digits, hyphens."""

    def block_bytes(self, dtype: str) -> int:
        """Bytes of a block before encoding, a multiple of 16, at most 16 MiB."""
        return 2**22

    @abstractmethod
    def encode(self, block: bytes | memoryview, dtype: str) -> bytes | memoryview:
        """Encode one block of little-endian numbers of ``dtype``."""

    @abstractmethod
    def decode(self, data: bytes | memoryview, dtype: str, nbytes: int) -> bytes | memoryview:
        """Decode one block of ``nbytes`` bytes; ``data`` may be hostile.

        Raises
        ------
        PackError
            When ``data`` does not decode to exactly ``nbytes`` bytes. Never reserve more memory
            than a few times ``nbytes``.
        """
