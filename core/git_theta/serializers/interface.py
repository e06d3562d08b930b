"""What a serializer must be able to do. Plugin authors subclass :class:`Serializer`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence


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
        """Bytes of a block before encoding, a power of two from 2 KiB to 8 MiB."""
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

    def encode_blocks(
        self, data: bytes | memoryview, sizes: Sequence[int], dtype: str
    ) -> tuple[bytes, list[int]]:
        """Encode many short blocks at once; they have ``sizes`` bytes, all of ``data`` together.

        The kernel puts many small buffers into one payload, a few in each block. Override this
        where working on all of them together is quicker; each block must be one that
        :meth:`decode` undoes. Returns the encoded blocks one after another, and the length of
        each. A block that does not shrink is stored as it is: its length says so.
        """
        view, at, blocks = memoryview(data), 0, []
        for size in sizes:
            plain = view[at : at + size]
            at += size
            encoded = self.encode(plain, dtype)
            blocks.append(encoded if len(encoded) < len(plain) else plain)
        return b"".join(blocks), [len(encoded) for encoded in blocks]

    def decode_blocks(
        self,
        data: bytes | memoryview,
        lengths: Sequence[int],
        sizes: Sequence[int],
        dtype: str,
    ) -> bytes | memoryview:
        """Undo :meth:`encode_blocks`; errors as in :meth:`decode`.

        ``lengths`` are those of the encoded blocks, ``sizes`` what they decode to.
        """
        view, at, pieces = memoryview(data), 0, []
        for length, size in zip(lengths, sizes, strict=True):
            stored = view[at : at + length]
            pieces.append(stored if length == size else self.decode(stored, dtype, size))
            at += length
        return b"".join(pieces)
