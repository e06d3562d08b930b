"""Registers the stores that come with the kernel."""

from __future__ import annotations

from collections.abc import Iterable

from git_theta.hookspecs import hookimpl
from git_theta.storage.folder import FolderStoreType
from git_theta.storage.interface import StoreType
from git_theta.storage.lfs import LfsStoreType


@hookimpl
def theta_stores() -> Iterable[StoreType]:
    """A folder of packs, and the Git LFS server of a git remote."""
    return (FolderStoreType(), LfsStoreType())
