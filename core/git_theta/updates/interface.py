"""What an update type must be able to do. Plugin authors subclass :class:`UpdateType`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from git_theta.source import Source


@dataclass(frozen=True, slots=True)
class Part:
    """A run of numbers that an update consists of; the kernel serializes it block by block."""

    dtype: str
    """safetensors' name of the dtype."""
    data: Source
    """The numbers, little-endian; read in blocks, from several threads."""
    serializer: str = ""
    """Name of the serializer to use; "": the one that the kernel prefers for the dtype."""


@dataclass(frozen=True, slots=True)
class Update:
    """A buffer, told in terms of its base (or of nothing: dense)."""

    parts: tuple[Part, ...]
    """What to store."""
    params: bytes = b""
    """Whatever else decoding needs, at most 64 KiB, opaque to the kernel."""


class UpdateType(ABC):
    """A way to store a buffer relative to one that is stored already.

    The kernel keeps an update only after decoding it returned the exact bytes, and only where it
    is smaller than the others that were tried. Arithmetic must give the same bits on every machine.

    Examples
    --------
    >>> class Same(UpdateType):
    ...     "The base, again."
    ...     name = "same"
    ...     needs_base = True
    ...     def encode(self, new, base, dtype):
    ...         same = new.size == base.size and bytes(new.read(0, 9)) == bytes(base.read(0, 9))
    ...         return Update(()) if same else None
    ...     def decode(self, update, base, dtype, nbytes):
    ...         return base
    """

    name: str
    """Name of the update type in packs: lower case, digits, hyphens."""
    needs_base: bool
    """Whether :meth:`encode` and :meth:`decode` are given a base."""

    @abstractmethod
    def encode(self, new: Source, base: Source | None, dtype: str) -> Update | None:
        """Tell ``new`` in terms of ``base``; None when that does not pay.

        Both hold little-endian numbers of ``dtype`` and may differ in length; read them in blocks.
        """

    @abstractmethod
    def decode(self, update: Update, base: Source | None, dtype: str, nbytes: int) -> Source:
        """The ``nbytes`` bytes that were encoded, as a source that decodes what is read.

        ``update`` may be hostile.

        Raises
        ------
        PackError
            When parts or params do not fit ``nbytes``, here or when the source is read.
        """


def check_parts(update: Update, expected: Sequence[tuple[str, int]]) -> None:
    """Check that an update has parts of the expected dtypes and lengths in bytes.

    Raises
    ------
    PackError
        When it has others.
    """
    from git_theta.errors import PackError

    found = [(part.dtype, part.data.size) for part in update.parts]
    if found != list(expected):
        raise PackError(f"Expected parts {list(expected)} (dtype, bytes), found {found}")
