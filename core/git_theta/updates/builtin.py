"""Registers the update types that come with the kernel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from git_theta.hookspecs import hookimpl

if TYPE_CHECKING:
    from git_theta.updates.interface import UpdateType


@hookimpl
def theta_update_types() -> Iterable[UpdateType]:
    """Dense, differences, scattered changes, scaled axes, low ranks, formulas, casts, patches."""
    from git_theta.updates.cast import Cast  # here, since numpy comes with them
    from git_theta.updates.delta import Delta
    from git_theta.updates.dense import Dense
    from git_theta.updates.low_rank import LowRank
    from git_theta.updates.patch import Patch
    from git_theta.updates.recipe import Recipe
    from git_theta.updates.scale import Scale
    from git_theta.updates.sparse import Sparse

    return (Dense(), Delta(), Sparse(), Scale(), LowRank(), Recipe(), Cast(), Patch())
