"""Which groups of a checkpoint are told, and whether what is told fits them."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from typing import NamedTuple

from git_theta.checkpoint import Layout, Tensor
from git_theta.digests import whole_runs
from git_theta.errors import UpdateFileError
from git_theta.plugins import Plugins
from git_theta.source import Source
from git_theta.told.update_file import Told, listed, numbers_of
from git_theta.updates.interface import Numbers, Update, UpdateType


class Target(NamedTuple):
    """A group that is told."""

    told: Told
    type: UpdateType
    tensor: Tensor
    base: Numbers
    """Its value before."""
    rank: int | None = None
    """Of the factors, where it is told by some."""

    def update(self) -> Update | None:
        """The update; None: it changes nothing.

        Raises
        ------
        UpdateFileError
            When what is told does not fit; the message names the group.
        """
        try:
            return self.type.tell(self.base, self.told.fields())
        except UpdateFileError as fault:
            remedy = fault.remedy or "Nothing was written; mend the update file, then try again"
            fault.remedy = ""
            raise UpdateFileError(f"Group {self.told.group!r}: {fault}", remedy=remedy) from fault


def find_targets(
    file: Source, path: str, layout: Layout, told: Sequence[Told], plugins: Plugins
) -> tuple[list[Target], list[str]]:
    """The groups that are told, in the order of the file's bytes, and those that stay the same.

    Parameters
    ----------
    file, path, layout
        The checkpoint.
    told
        What is told of its groups.
    plugins
        Where update types are found.

    Raises
    ------
    UpdateFileError
        When anything that is told does not fit.
    """
    tensors = {tensor.name: tensor for tensor in layout.tensors}
    shared = _shared(layout)
    targets = []
    names: set[str] = set()
    for one in told:
        tensor = tensors.get(one.group)
        if tensor is None:
            raise _unknown(one.group, path, list(tensors))
        if one.group in names:
            raise UpdateFileError(
                f"Group {one.group!r} of {path} is told twice, expected once",
                remedy="Merge both updates into one, or tell one after the other",
            )
        names.add(one.group)
        _check_alone(tensor, layout, shared.get(tensor.buffer, ()), path)
        base = numbers_of(file, layout, tensor)
        targets.append(Target(one, plugins.update_type(one.update_type), tensor, base, one.rank))
    targets.sort(key=lambda target: layout.buffers[target.tensor.buffer].start)
    same = [target.told.group for target in targets if target.update() is None]
    return [target for target in targets if target.told.group not in same], same


def _unknown(group: str, path: str, names: Sequence[str]) -> UpdateFileError:
    near = difflib.get_close_matches(group, names, n=3, cutoff=0.5)
    return UpdateFileError(
        f"Expected a parameter group {group!r} in {path}, found none among its {len(names)}"
        + (f"; the nearest are {listed(near)}" if near else ""),
        remedy=f"git theta show {shlex.quote(path)} lists them once the file is in git",
    )


def _shared(layout: Layout) -> dict[int, list[str]]:
    """Names of the groups of every buffer."""
    found: dict[int, list[str]] = {}
    for tensor in layout.tensors:
        found.setdefault(tensor.buffer, []).append(tensor.name)
    return found


def _check_alone(tensor: Tensor, layout: Layout, names: Sequence[str], path: str) -> None:
    """Refuse a group that is not all of its bytes, or not alone on them."""
    if len(names) > 1:
        others = listed([name for name in names if name != tensor.name])
        raise UpdateFileError(
            f"Group {tensor.name!r} of {path} shares its bytes with {others}, which would change "
            "as well; expected a group with bytes of its own",
            remedy="Apply the update to the model yourself, save it, then: git add "
            + shlex.quote(path),
        )
    buffers = layout.buffers
    if whole_runs(Layout(buffers, (tensor,)), buffers, range(len(buffers)))[0] is None:
        raise UpdateFileError(
            f"Group {tensor.name!r} of {path} is a slice or a transposed view of its bytes, "
            "expected all of them in order",
            remedy="Save the checkpoint with contiguous tensors, then: git add "
            + shlex.quote(path),
        )
