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
    """What to store: 1 to 16 parts, none of them empty."""
    params: bytes = b""
    """Whatever else decoding needs, at most 64 KiB, opaque to the kernel."""


class UpdateType(ABC):
    """A way to store a buffer relative to one that is stored already.

    The kernel asks every installed update type about each buffer of 32 KiB or more, and about the
    skeleton. It keeps the smallest update that has at most half the buffer's bytes before its
    parts are serialized, 16 MiB at most, after decoding it returned the exact bytes. Arithmetic
    must give the same bits on every machine.

    A base is the skeleton of the file's last version so far: numbers are given none, so there a
    type that needs one is used only to read packs.

    Examples
    --------
    >>> class Same(UpdateType):
    ...     "The base, again."
    ...     name = "same"
    ...     needs_base = True
    ...     def encode(self, new, base, dtype):
    ...         same = new.size == base.size and all(map(eq, new.blocks(), base.blocks()))
    ...         return Update((Part("U8", BytesSource(b"=")),)) if same else None
    ...     def decode(self, update, base, dtype, nbytes):
    ...         if base.size != nbytes:
    ...             raise PackError(f"Expected a base of {nbytes} bytes, found {base.size}")
    ...         return base
    """

    name: str
    """Name of the update type in packs: lower case, digits, hyphens."""
    needs_base: bool
    """Whether :meth:`encode` and :meth:`decode` are given a base; where there is none, it is not
    asked."""

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
