"""What a migration does with a file's blob: an interface, and who implements it is a way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

from git_theta.migrate.drivers import Way


class Conversion(ABC):
    """Makes the target's blobs of the source's, and proves that they stand for the same files."""

    way: Way

    @abstractmethod
    def weigh(self, oid: str) -> int | None:
        """Bytes of the file that a blob stands for; None when the blob stays as it is."""

    @abstractmethod
    def is_text(self, oid: str) -> bool:
        """Whether a blob is a text that stands for a file, not the file itself."""

    @abstractmethod
    def prepare(self, paths: Mapping[str, str]) -> dict[str, str]:
        """Have everything at hand; blobs whose files cannot be had, each with a word on it.

        ``paths`` has a path of each blob.
        """

    @abstractmethod
    def convert(
        self, oid: str, path: str, commit: str, near: Sequence[str], advance: Callable[[int], None]
    ) -> str:
        """Make the target's blob.

        Parameters
        ----------
        oid, path, commit
            The source's blob, and a path at which it lies in a commit.
        near
            New blobs of the versions before it.
        advance
            Told how many bytes were worked on, each byte of the file twice.
        """

    @abstractmethod
    def verify(self, oid: str, new: str, path: str, advance: Callable[[int], None]) -> None:
        """Read the file of the new blob from where it lies now.

        Raises
        ------
        PackError
            When it is not, byte for byte, what the old blob stood for.
        """
