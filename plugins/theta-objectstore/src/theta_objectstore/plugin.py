"""Registers the stores, one for each scheme; the entry point of this distribution."""

from __future__ import annotations

from collections.abc import Iterable

from git_theta.hookspecs import hookimpl
from git_theta.storage.interface import StoreType
from theta_objectstore.types import SCHEMES, ObjectStoreType


@hookimpl
def theta_stores() -> Iterable[StoreType]:
    """What is reached over HTTP."""
    return [ObjectStoreType(scheme) for scheme in SCHEMES]
