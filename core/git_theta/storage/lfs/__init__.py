"""Packs on the Git LFS server of a git remote: ``lfs://REMOTE``.

Packs are named as LFS names its objects, by the SHA-256 of their bytes, so a pack is an object.
What is sent and fetched goes through the real ``git lfs``: its endpoint, credentials, transfer
adapters and custom agents. This module only knows the URL; the rest is imported when a store is
opened.
"""

from __future__ import annotations

from git_theta.errors import StoreError
from git_theta.storage.interface import Store, StoreType


class LfsStoreType(StoreType):
    """Opens ``lfs://REMOTE``, in the repository that git finds from the current folder."""

    scheme = "lfs"

    def open(self, url: str) -> Store:
        """Open the store of a git remote; REMOTE is its name, or the URL of a repository."""
        scheme, separator, remote = url.partition("://")
        if scheme != self.scheme or not separator:
            raise StoreError(f"Expected lfs://REMOTE, found {url!r}")
        if not remote or remote.startswith("-") or not remote.isprintable():
            raise StoreError(f"Expected the name of a git remote after lfs://, found {remote!r}")
        from git_theta.storage.lfs.endpoint import find_endpoint

        return find_endpoint(remote).open()
