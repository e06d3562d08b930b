"""What a store can do: plugin authors subclass :class:`StoreType` and :class:`Store`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path


class Store(ABC):
    """A place that keeps packs under their names, the SHA-256 of their bytes.

    A name is 64 lower-case hex digits; all methods raise StoreError for any other, before a path
    or a URL is made of it.
    """

    @abstractmethod
    def missing(self, packs: Iterable[str]) -> set[str]:
        """Those of ``packs`` that the store does not have."""

    @abstractmethod
    def put(self, pack: str, file: Path) -> None:
        """Keep a pack, the content of ``file``; afterwards the store has all of it or nothing.

        Raises
        ------
        StoreError
            When the store cannot be written to.
        """

    @abstractmethod
    def get(self, pack: str, file: Path) -> None:
        """Write a pack to ``file``, which does not exist yet.

        Raises
        ------
        MissingPackError
            When the store does not have the pack.
        PackError
            When what the store has is not the pack; ``file`` does not exist then.
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

        Raises
        ------
        StoreError
            When the URL is not valid or nothing answers there.
        """
