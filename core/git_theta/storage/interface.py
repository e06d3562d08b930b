"""What a store can do: plugin authors subclass :class:`StoreType` and :class:`Store`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path

Advance = Callable[[int], None]
"""Is told how many more bytes have been transferred; called from any thread."""


def unwatched(_: int) -> None:
    """Nobody wants to know how far a transfer is."""


class Store(ABC):
    """A place that keeps packs under their names, the SHA-256 of their bytes.

    A name is 64 lower-case hex digits; all methods raise StoreError for any other, before a path
    or a URL is made of it. Sizes go along with names because some servers find nothing without
    them; a store that does not need them need not look at them. A store may transfer several packs
    at a time by itself.
    """

    @abstractmethod
    def missing(self, packs: Mapping[str, int]) -> set[str]:
        """Those of ``packs`` that the store does not have; asks the store, downloads nothing.

        Parameters
        ----------
        packs
            Sizes in bytes by the names of packs, as metadata has them.

        Raises
        ------
        StoreError
            When the store cannot be asked.
        """

    def lost(self, packs: Mapping[str, int]) -> set[str]:
        """Those of ``packs``, which were just put there, that the store does not have after all.

        Nobody's commits are pushed then. A store that cannot tell about some leaves them out;
        parameters and errors are those of :meth:`missing`.
        """
        return self.missing(packs)

    @abstractmethod
    def put(self, packs: Mapping[str, Path], advance: Advance = unwatched) -> None:
        """Keep packs, each the content of a file; what the store has already is not sent.

        One call has all packs that are to go there, so that a store far away can negotiate once
        and send several at a time. Of each pack the store has afterwards all or nothing. When one
        fails the others may or may not be there: :meth:`missing` tells, and putting all of them
        again goes on.

        Parameters
        ----------
        packs
            Files by the names of packs.
        advance
            Is told the bytes that were sent: in the end the sizes of the packs that were missing.

        Raises
        ------
        StoreError
            When the store cannot be written to.
        PackError
            When a file is not the pack.
        """

    @abstractmethod
    def get(
        self, packs: Mapping[str, Path], sizes: Mapping[str, int], advance: Advance = unwatched
    ) -> None:
        """Write packs to files, which do not exist yet; all of them, or an error follows.

        A file that exists afterwards is the whole pack, verified: those that arrived before an
        error stay, and the caller asks for the others again.

        Parameters
        ----------
        packs
            Files by the names of packs; different ones, in folders that exist.
        sizes
            Sizes in bytes by the names of at least those packs.
        advance
            Is told the bytes that arrived: in the end the sizes of the packs.

        Raises
        ------
        MissingPackError
            When the store does not have one of the packs.
        PackError
            When what the store has is not the pack.
        StoreError
            When the store cannot be read, or a file not be written.
        """


class StoreType(ABC):
    """Opens stores by URL.

    Examples
    --------
    >>> class Nowhere(StoreType):
    ...     "Keeps nothing."
    ...     scheme = "nowhere"
    ...     def open(self, url):
    ...         raise ValueError(url)
    """

    scheme: str
    """What a URL of such a store begins with, before ``://``."""

    @abstractmethod
    def open(self, url: str) -> Store:
        """Open the store at ``url``.

        A store that rides on git finds the repository as git does: from the current folder, or
        from the variables that name it. What is far away need not be asked yet.

        Raises
        ------
        StoreError
            When the URL is not valid or nothing answers there.
        """
