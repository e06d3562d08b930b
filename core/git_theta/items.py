"""The items of metadata (its skeleton, groups and buffers), and what to say when one is amiss."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from git_theta.dtypes import count_bytes
from git_theta.errors import MetadataError, MissingPackError, PackError, ThetaError
from git_theta.metadata import Metadata
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import BufferId

RESTORE = "Run git theta fsck, and restore the pack from a copy"
"""What to do about a damaged pack."""


def all_items(metadata: Metadata) -> list[tuple[BufferId, int]]:
    """Identity and length in bytes of every item; the skeleton's first."""
    skeleton = metadata.skeleton
    count = lru_cache(2**12)(count_bytes)  # most groups have one of few shapes
    items = [(BufferId("U8", skeleton.digest), skeleton.nbytes)]
    items += [(BufferId(d, digest), count(d, shape)) for _, d, shape, digest in metadata.groups]
    items += [(BufferId(d, digest), nbytes) for d, nbytes, digest in metadata.buffers]
    return items


def item_identity(metadata: Metadata, item: int, path: str = "") -> tuple[BufferId, int]:
    """Identity and length in bytes of a group or a buffer.

    Raises
    ------
    MetadataError
        When there is no such item.
    """
    groups, buffers = metadata.groups, metadata.buffers
    if 1 <= item <= len(groups):
        group = groups[item - 1]
        return BufferId(group.dtype, group.digest), group.nbytes
    if len(groups) < item <= len(groups) + len(buffers):
        buffer = buffers[item - len(groups) - 1]
        return BufferId(buffer.dtype, buffer.digest), buffer.nbytes
    raise MetadataError(f"{path}: its layout names item {item}, which it does not have")


def item_name(metadata: Metadata, item: int) -> str:
    """What to call an item in a message."""
    if item == 0:
        return "the skeleton"
    if item <= len(metadata.groups):
        return f"group {metadata.groups[item - 1].name!r}"
    return f"buffer {item_identity(metadata, item)[0]}"


def where(store: LocalStore, identity: BufferId) -> str:
    """In which packs a buffer lies, for a message."""
    packs = dict.fromkeys(location.pack for location in store.find([identity])[identity])
    return f"it lies in pack {' or '.join(packs)}"


def told(
    fault: ThetaError, metadata: Metadata, path: str, store: LocalStore, item: int
) -> ThetaError:
    """An error about packs, with the file and the item named."""
    if isinstance(fault, MissingPackError):
        return missing(metadata, path, store, [item])
    what = f"{path}, {item_name(metadata, item)}: {fault.args[0]}"
    return PackError(what, remedy=fault.remedy)


def missing(
    metadata: Metadata, path: str, store: LocalStore, items: Sequence[int]
) -> MissingPackError:
    """The error that names items which the store lacks, and the packs that should have them."""
    import shlex  # seldom needed, and git waits for what is imported

    lost = set(items)
    packs = [hint.pack for hint in metadata.packs if not lost.isdisjoint(hint.items)]
    absent = store.packs.missing(packs) or set(packs)
    names = ", ".join(item_name(metadata, item) for item in items[:3])
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    listed = "".join(f"\n  pack {pack}" for pack in packs if pack in absent)
    return MissingPackError(
        f"{path}: the store {store.folder} lacks {names}{more}, expected in:{listed}",
        remedy=f"Run git theta fetch, or copy these packs into {store.packs.folder} from a clone "
        f"that has them; then run git theta checkout -- {shlex.quote(path)}",
    )
