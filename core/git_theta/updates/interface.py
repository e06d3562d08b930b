"""What an update type must be able to do. Plugin authors subclass :class:`UpdateType`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from git_theta.errors import UpdateFileError
from git_theta.source import Source


class Numbers(NamedTuple):
    """A buffer that is told in terms of others, or one that it is told in terms of."""

    data: Source
    """The numbers, little-endian, row-major; read in blocks, from several threads."""
    dtype: str
    """safetensors' name of the dtype."""
    shape: tuple[int, ...]
    """Elements by dimension, of the parameter group that the numbers are; one dimension where they
    are not all of one."""


class Part(NamedTuple):
    """A run of numbers that an update consists of; the kernel serializes it block by block."""

    dtype: str
    """safetensors' name of the dtype."""
    data: Source
    """The numbers, little-endian; the kernel reads all of them, in order, once."""
    serializer: str = ""
    """Name of the serializer to use; "": the one that the kernel prefers for the dtype."""


class Update(NamedTuple):
    """A buffer, told in terms of its bases (or of nothing: dense)."""

    parts: tuple[Part, ...]
    """What to store: 1 to 16 parts, none of them empty."""
    params: bytes = b""
    """Whatever else decoding needs, at most 64 KiB, opaque to the kernel."""
    uses: tuple[int, ...] | None = None
    """Which of the bases that were offered it stands on, in the order in which decoding is given
    them; None: all of them."""


class UpdateType(ABC):
    """A way to store a buffer relative to others that are stored already.

    The kernel asks every installed update type about each buffer of 32 KiB or more, and about the
    skeleton. Those that guess to need few bytes are tried, and the smallest that gave back the
    exact bytes is kept. Arithmetic must give the same bits on every machine.

    Examples
    --------
    >>> class Same(UpdateType):
    ...     "The base, again."
    ...     name = "same"
    ...     max_bases = 1
    ...     def encode(self, new, bases):
    ...         (base,) = bases
    ...         same = new.data.size == base.data.size and all(
    ...             map(eq, new.data.blocks(), base.data.blocks())
    ...         )
    ...         return Update((Part("U8", BytesSource(b"=")),)) if same else None
    ...     def decode(self, update, bases, dtype, nbytes):
    ...         (base,) = bases
    ...         if base.size != nbytes:
    ...             raise PackError(f"Expected a base of {nbytes} bytes, found {base.size}")
    ...         return base
    """

    name: str
    """Name of the update type in packs: lower case, digits, hyphens."""
    max_bases: int
    """Most buffers that an update stands on. 0: it is given none. 1: it is given one at a time, and
    asked about the nearest. More: it is given all that there are and says which it uses."""
    other_dtypes: bool = False
    """Whether it stands on bases of other dtypes than the buffer's, and on no others: floats that a
    group of the same name and shape was made of."""
    fields: tuple[str, ...] = ()
    """What an update file tells of a group, each as ``GROUP/FIELD``; (): nothing can be told."""

    def estimate(self, new: Numbers, bases: Sequence[Numbers]) -> int:
        """Guess from samples how many bytes :meth:`encode` would make the kernel store.

        A type whose guess is far above another's is not tried. Without a guess (0) it always is.
        """
        return 0

    @abstractmethod
    def encode(self, new: Numbers, bases: Sequence[Numbers]) -> Update | None:
        """Tell ``new`` in terms of ``bases``; None when that does not pay.

        Bases have the dtype of ``new`` (see :attr:`other_dtypes`), and may have another length or
        shape. Buffers may be larger than memory: read them in blocks, and give parts that compute
        what is read of them.
        """

    def tell(self, base: Numbers, fields: Mapping[str, Numbers]) -> Update | None:
        """The update that a user tells, where :attr:`fields` names what is told; None: no change.

        What it decodes to *is* the group's new value, so it has no residual.

        Parameters
        ----------
        base
            The group that is updated.
        fields
            Each of :attr:`fields`, as large as the user's file has it.

        Raises
        ------
        UpdateFileError
            When the fields do not fit the base: what was expected, what was found.
        """
        raise UpdateFileError(
            f"An update of type {self.name} cannot be told",
            remedy="Leave out --update-path; then a way to store the file's change is found",
        )

    @abstractmethod
    def decode(self, update: Update, bases: Sequence[Source], dtype: str, nbytes: int) -> Source:
        """The ``nbytes`` bytes that were encoded, as a source that decodes what is read.

        ``bases`` are those that the update uses. All of it may be hostile.

        Raises
        ------
        PackError
            When parts, params or bases do not fit ``nbytes``, here or when the source is read.
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
