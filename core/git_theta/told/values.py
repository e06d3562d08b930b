"""From told updates to a file with the new values, and to the payloads that hold the updates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache

from git_theta.checkpoint import Layout
from git_theta.digests import digest, tensor_source
from git_theta.formats.detect import Siblings, Spliced, detect, splice
from git_theta.metadata import parse
from git_theta.plugins import Plugins
from git_theta.source import Source
from git_theta.storage.buffers import store_buffers
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import BufferId
from git_theta.storage.wanted import Wanted
from git_theta.table import RUN_BYTES
from git_theta.told.targets import Target
from git_theta.updates.choose import Form
from git_theta.updates.grounds import Bases, Candidate
from git_theta.views import swapped


def rewritten(
    file: Source,
    path: str,
    layout: Layout,
    targets: Sequence[Target],
    plugins: Plugins,
    siblings: Siblings,
) -> Spliced:
    """The checkpoint with the new values of its told groups, computed as it is read."""
    decoded = lru_cache(maxsize=2)(lambda number: _decode(targets[number]))  # mostly read in order
    changed: dict[int, Source] = {}
    for number, target in enumerate(targets):
        buffer = layout.buffers[target.tensor.buffer]
        value: Source = _Value(buffer.nbytes, decoded, number)
        if buffer.big_endian:
            value = swapped(value, target.tensor.dtype)
        changed[target.tensor.buffer] = value
    return splice(file, path, plugins, changed, siblings)


def _decode(target: Target) -> Source:
    update = target.update()
    assert update is not None
    bases = [target.base.data] if target.type.max_bases else []
    return target.type.decode(update, bases, target.base.dtype, target.base.data.size)


class _Value(Source):
    """The new value of a group; two groups are decoded at a time, however many there are."""

    def __init__(self, nbytes: int, decoded: Callable[[int], Source], number: int) -> None:
        self.size = nbytes
        self._decoded, self._number = decoded, number

    def _read(self, offset: int, nbytes: int) -> bytes | memoryview:
        return self._decoded(self._number).read(offset, nbytes)


def store_told(
    store: LocalStore,
    plugins: Plugins,
    file: Source,
    path: str,
    targets: Sequence[Target],
    before: bytes,
    siblings: Siblings,
) -> None:
    """Store the updates of a checkpoint's groups as they were told.

    One that cannot stand on its base, because reading it would take too much, is stored in
    whatever form is smallest. The rest of the file is left to clean.

    Parameters
    ----------
    store, plugins
        Where they go, and where update types are found.
    file, path
        The checkpoint with its new values.
    targets
        The groups.
    before
        Metadata of the checkpoint with its old values, which the store has.
    siblings
        Where the other files of the checkpoint are found.
    """
    bases = {
        group.name: Candidate(BufferId(group.dtype, group.digest), group.shape)
        for group in parse(before, path).groups
    }
    layout = detect(file, path, plugins, siblings).layout
    store_buffers(store, plugins, _wanted(store, file, layout, targets, bases))


def _wanted(
    store: LocalStore,
    file: Source,
    layout: Layout,
    targets: Sequence[Target],
    bases: Mapping[str, Candidate],
) -> Iterator[Wanted]:
    tensors = {tensor.name: tensor for tensor in layout.tensors}
    seen: set[BufferId] = set()
    for target in targets:
        tensor = tensors[target.told.group]
        value = tensor_source(file, layout, tensor)
        if not 0 < value.size <= RUN_BYTES:  # longer ones are several buffers
            continue
        buffer = BufferId(tensor.dtype, digest(value))
        if buffer in seen or store.find([buffer]):
            continue
        seen.add(buffer)
        form = Form(target.told.update_type, target.update())
        near = Bases([bases[tensor.name]])
        yield Wanted(((buffer, value.size),), value, near, tensor.shape, form=form)
