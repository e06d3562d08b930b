"""An update file: what it tells of which group, by the names of its own parameter groups.

``GROUP/R`` and ``GROUP/C``, say; a PyTorch file may nest dicts, which reads as ``GROUP.R``. A file
of whole values (dense) may name the groups themselves.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

from git_theta.checkpoint import Layout, Tensor
from git_theta.digests import tensor_source
from git_theta.errors import UpdateFileError
from git_theta.formats.detect import UNKNOWN, Detected, Siblings, detect, no_siblings
from git_theta.plugins import Plugins
from git_theta.source import Source
from git_theta.updates.interface import Numbers, UpdateType

Fields = Mapping[str, Numbers]
"""What is told of a group, by field."""

WHOLE = "parameter"
"""The field of a group's whole value, which may be left out of its name."""
MAX_NAMES = 5
"""Names that a message lists; of more the number."""


class Told(NamedTuple):
    """What a user tells of one group."""

    group: str
    """Name of the group."""
    update_type: str
    """Name of the update type."""
    fields: Callable[[], Fields]
    """Makes what is told, which is not kept for all groups at once."""
    rank: int | None = None
    """Of the factors, where it is told by some."""


def scan(file: Source, path: str, plugins: Plugins, siblings: Siblings = no_siblings) -> Detected:
    """A file in which parameter groups shall be found, by :func:`detect`.

    Raises
    ------
    UpdateFileError
        When no installed format knows it, or its numbers cannot be replaced one by one.
    """
    detected = detect(file, path, plugins, siblings)
    if detected.formats == (UNKNOWN,):
        why = f": {detected.warning}" if detected.warning else ""
        raise UpdateFileError(
            f"{path}: expected a checkpoint, found a file that no installed format knows{why}",
            remedy="git theta plugins lists the formats",
        )
    if any(buffer.coding for buffer in detected.layout.buffers):
        raise UpdateFileError(
            f"{path}: expected numbers as they are, found them compressed with zstd",
            remedy="Apply the update to the model yourself, save it, then: git add "
            f"{shlex.quote(path)}; or save it without compression first",
        )
    return detected


def read_update_file(
    file: Source, path: str, plugins: Plugins, update_type: UpdateType
) -> list[Told]:
    """What an update file tells, in the order of group names.

    Raises
    ------
    UpdateFileError
        When it is no such file: the format is unknown, names mean nothing, fields are missing.
    """
    layout = scan(file, path, plugins).layout
    fields, name = update_type.fields, update_type.name
    if not fields:
        update_type.tell(Numbers(file, "U8", (file.size,)), {})  # says that it cannot be told
    found: dict[str, dict[str, Tensor]] = {}
    strange = []
    for tensor in layout.tensors:
        group, field = _split(tensor.name, fields)
        if not field:
            strange.append(tensor.name)
        elif field in found.setdefault(group, {}):
            raise UpdateFileError(f"{path}: {field} of group {group!r} is there twice")
        else:
            found[group][field] = tensor
    wanted = ", ".join(f"GROUP/{field}" for field in fields)
    if strange or not found:
        raise UpdateFileError(
            f"{path}: expected names {wanted} for an update of type {name}, "
            f"found {listed(strange) or 'no parameter group'}",
            remedy="For a PEFT adapter, give the folder that has its adapter_config.json",
        )
    for group, tensors in found.items():
        if missing := [field for field in fields if field not in tensors]:
            raise UpdateFileError(
                f"{path}: group {group!r} has no {', '.join(missing)}, expected {wanted}"
            )
    return [
        Told(group, name, _reader(file, layout, found[group]), _rank(found[group]))
        for group in sorted(found)
    ]


def _rank(tensors: Mapping[str, Tensor]) -> int | None:
    shape = tensors["C"].shape if "C" in tensors else ()
    return shape[0] if shape else None


def _split(name: str, fields: Collection[str]) -> tuple[str, str]:
    """The group and the field of a name; no field where it ends in none."""
    for field in fields:
        for end in (f"/{field}", f".{field}"):
            if name.endswith(end) and name != end:
                return name.removesuffix(end), field
    return (name, WHOLE) if WHOLE in fields else (name, "")


def _reader(file: Source, layout: Layout, tensors: Mapping[str, Tensor]) -> Callable[[], Fields]:
    return lambda: {field: numbers_of(file, layout, one) for field, one in tensors.items()}


def numbers_of(file: Source, layout: Layout, tensor: Tensor) -> Numbers:
    """A parameter group of a file as numbers."""
    return Numbers(tensor_source(file, layout, tensor), tensor.dtype, tensor.shape)


def listed(names: Collection[str]) -> str:
    """Some names as a message has them."""
    return ", ".join(_some(names))


def _some(names: Collection[str]) -> Iterator[str]:
    for number, name in enumerate(names):
        if number == MAX_NAMES:
            yield f"and {len(names) - MAX_NAMES} more"
            return
        yield repr(name)
