"""Reads the columns that nodes of OCDBT consist of, and believes no count beyond their bytes."""

from __future__ import annotations

from git_theta.errors import CheckpointError, LimitExceeded

_LONGEST = 10  # bytes of a number

MAX_ROWS = 2**19
"""Rows of a node, of which each is a key or a file."""

MAX_TEXT = 2**16
"""Bytes of a key or a path; tensorstore's own limit."""

MAX_TEXTS = 2**26
"""Bytes of all keys of a node, those in front of them that it leaves out counted."""


class Fields:
    """Reads a node's bytes from their start."""

    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self._data, self._pos = data, 0

    def take(self, nbytes: int) -> bytes:
        """The next bytes.

        Raises
        ------
        CheckpointError
            When there are not so many; the other methods raise it too.
        """
        if nbytes > self.size - self._pos:
            raise CheckpointError(
                f"Expected {nbytes} more bytes of a node, found {self.size - self._pos}"
            )
        self._pos += nbytes
        return self._data[self._pos - nbytes : self._pos]

    def number(self) -> int:
        """A number of at most 64 bits, seven in a byte, the lowest first."""
        number = shift = 0
        for pos in range(self._pos, min(self._pos + _LONGEST, self.size)):
            byte = self._data[pos]
            number |= (byte & 127) << shift
            if byte < 128:
                self._pos = pos + 1
                return number
            shift += 7
        raise CheckpointError("Expected a number of at most 64 bits in a node")

    def count(self) -> int:
        """How many rows come: each takes a byte at least.

        Raises
        ------
        LimitExceeded
            When they are more than we read.
        """
        count = self.number()
        if count > MAX_ROWS:
            raise LimitExceeded(f"Expected at most {MAX_ROWS} rows in a node, found {count}")
        if count > self.size - self._pos:
            raise CheckpointError(f"Expected rows in a node, found {count} in too few bytes")
        return count

    def numbers(self, count: int) -> list[int]:
        """A column of numbers."""
        return [self.number() for _ in range(count)]

    def texts(self, prefixes: list[int], suffixes: list[int], before: int) -> list[bytes]:
        """A column of texts, of which each leaves out what it shares with the one before.

        Each will stand behind ``before`` bytes, which count as its own.
        """
        texts, text, total = [], b"", 0
        for prefix, suffix in zip([0, *prefixes], suffixes, strict=False):  # none of none
            if prefix > len(text):
                raise CheckpointError("Expected a key to share no more than the one before has")
            text = text[:prefix] + self.take(suffix)
            total += before + len(text)
            if before + len(text) >= MAX_TEXT or total > MAX_TEXTS:
                raise CheckpointError(f"Expected keys of at most {MAX_TEXTS} bytes in a node")
            texts.append(text)
        return texts

    def end(self) -> None:
        """Check that nothing is left."""
        if self._pos != self.size:
            raise CheckpointError(f"Expected {self._pos} bytes in a node, found {self.size}")
