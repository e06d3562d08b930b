"""Files of a checkout whose weights must be fetched first: put off, so that one fetch serves all.

git asks for one file after another. A filter that may delay answers "later" for those that lack
packs; once git has asked for all others it wants to know which are ready, and then all packs are
fetched at once. Source: gitattributes(5), "Delay".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from git_theta.errors import MissingPackError, ThetaError
from git_theta.git.repository import Repository
from git_theta.metadata import Metadata, parse

if TYPE_CHECKING:
    from git_theta.smudge import Rebuilt


class Delayed:
    """The files that a filter process put off, and what it fetched, or failed to fetch."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._waiting: dict[str, str] = {}
        self._ready: dict[str, str] = {}
        self._packs: dict[str, int] = {}
        self._vain: set[str] = set()
        self._fault: ThetaError | None = None

    def put_off(self, path: str, blob: str, text: bytes) -> bool:
        """Whether git shall ask for a file later, because packs must be fetched for it.

        Parameters
        ----------
        path, blob
            The file, and the id of its metadata: only that is remembered, so that memory does not
            grow with the metadata of a checkout.
        text
            The metadata.

        Raises
        ------
        MetadataError
            When it is not valid.
        """
        from git_theta.remotes.needs import hinted_packs

        if not blob or not self._repository.store.packs.missing(hinted_packs(text)):
            return False
        from git_theta.remotes.fetch import fetch_order
        from git_theta.remotes.obtain import lacking_packs

        lacking = lacking_packs(self._repository, parse(text, path), path)
        if not lacking or not fetch_order():
            return False
        self._waiting[path] = blob
        self._packs |= lacking
        return True

    def available(self) -> list[str]:
        """The files that git can ask for now: all packs that were lacking have been fetched.

        Where that fails, each file says so when it is asked for.
        """
        ready, packs = dict(self._waiting), dict(self._packs)
        self._waiting.clear()
        self._packs.clear()
        self._ready |= ready
        if packs:
            self._fetch(packs)
        return list(ready)

    def text(self, path: str) -> bytes | None:
        """The metadata of a file that is available now; None when it was not put off."""
        blob = self._ready.pop(path, None)
        return None if blob is None else self._repository.blob(blob).replace(b"\r\n", b"\n")

    def rebuild(self, metadata: Metadata, path: str) -> Rebuilt:
        """A file, with what was fetched for it; for a command that only reads nothing is fetched.

        Raises
        ------
        MissingPackError
            When the local store and those of the git remotes lack something of it.
        """
        from git_theta.plugins import installed
        from git_theta.smudge import rebuild

        store = self._repository.store
        try:
            return rebuild(metadata, path, store=store, plugins=installed())
        except MissingPackError:
            if not self._obtain(metadata, path):
                raise
        return rebuild(metadata, path, store=store, plugins=installed())

    def _obtain(self, metadata: Metadata, path: str) -> bool:
        """Whether packs arrived that a file lacks."""
        from git_theta.git.caller import only_reads
        from git_theta.remotes.fetch import fetch_order
        from git_theta.remotes.obtain import lacking_packs

        lacking = lacking_packs(self._repository, metadata, path)
        if self._vain.isdisjoint(lacking):
            if not lacking or only_reads() or not fetch_order():
                return False
            if self._fetch(lacking):
                return True
        assert self._fault
        fault, self._fault = self._fault, MissingPackError("its packs could not be fetched either")
        raise MissingPackError(f"{path}: {fault.args[0]}", remedy=fault.remedy) from fault

    def _fetch(self, packs: dict[str, int]) -> bool:
        from git_theta.remotes.fetch import fetch_packs

        try:
            fetch_packs(self._repository, packs)
        except ThetaError as fault:
            self._fault = fault
            self._vain |= self._repository.store.packs.missing(packs)
            return False
        return True
