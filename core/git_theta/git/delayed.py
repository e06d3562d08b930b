"""Files of a checkout whose weights must be fetched first: put off, so that one fetch serves all.

git asks for one file after another. A filter that may delay answers "later" for those that lack
packs; once git has asked for all others it wants to know which are ready, and then all packs are
fetched at once. Source: gitattributes(5), "Delay".
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from git_theta.errors import MissingPackError
from git_theta.git.repository import Repository
from git_theta.metadata import Metadata, parse
from git_theta.remotes.needs import Need, hinted_packs, total

if TYPE_CHECKING:
    from git_theta.smudge import Rebuilt
    from git_theta.storage.decode import AtHand


class Delayed:
    """The files that a filter process put off, and what it failed to fetch."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._waiting: dict[str, Need] = {}
        self._ready: dict[str, str] = {}
        self._vain: set[str] = set()
        self._fault: MissingPackError | None = None

    @cached_property
    def _remotes(self) -> list[str]:
        from git_theta.remotes.fetch import fetch_order

        return fetch_order()

    def put_off(self, path: str, blob: str, text: bytes) -> bool:
        """Whether git shall ask for a file later, because packs must be fetched for it.

        Parameters
        ----------
        path, blob
            The file, and the id of its metadata: the text is read again later, so that memory
            does not grow with the metadata of a checkout.
        text
            The metadata.

        Raises
        ------
        MetadataError
            When it is not valid.
        """
        if not blob or not self._repository.store.packs.missing(hinted_packs(text)):
            return False
        from git_theta.remotes.obtain import lacking_packs

        lacking = lacking_packs(self._repository, parse(text, path), path)
        if not lacking or not self._remotes:
            return False
        self._waiting[path] = Need(path, blob, lacking)
        return True

    def available(self) -> list[str]:
        """The files that git can ask for now: all packs that were lacking have been fetched.

        Where that fails, each file says so when it is asked for.
        """
        needs = list(self._waiting.values())
        self._waiting.clear()
        self._ready |= {need.path: need.blob for need in needs}
        if needs:
            self._obtain(needs)
        return [need.path for need in needs]

    def blob(self, path: str) -> str:
        """The id of the metadata of a file that is available now; nothing when it was not put off.

        git sends no content when it asks for such a file.
        """
        return self._ready.pop(path, "")

    def rebuild(self, metadata: Metadata, path: str, blob: str, at_hand: AtHand) -> Rebuilt:
        """A file, with what was fetched for it; for a command that only reads nothing is fetched.

        Raises
        ------
        MissingPackError
            When the local store and those of the git remotes lack something of it.
        """
        from git_theta.git.caller import only_reads
        from git_theta.plugins import installed
        from git_theta.smudge import rebuild

        store = self._repository.store
        try:
            return rebuild(metadata, path, store=store, plugins=installed(), at_hand=at_hand)
        except MissingPackError:
            if only_reads():
                raise
            from git_theta.remotes.obtain import lacking_packs

            need = Need(path, blob, lacking_packs(self._repository, metadata, path))
            vain = not self._vain.isdisjoint(need.packs)
            if vain or not self._obtain([need]):
                if self._fault is None:
                    raise
                fault = self._fault
                short = f"{path}: its packs could not be fetched either"
                self._fault = MissingPackError(short)
                raise fault from None
        return rebuild(metadata, path, store=store, plugins=installed(), at_hand=at_hand)

    def _obtain(self, needs: list[Need]) -> bool:
        """Whether packs arrived."""
        from git_theta.remotes.obtain import obtain

        try:
            return bool(obtain(self._repository, needs, self._remotes))
        except MissingPackError as fault:
            self._fault = fault
            self._vain |= self._repository.store.packs.missing(total(needs))
            return False
