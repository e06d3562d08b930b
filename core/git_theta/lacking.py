"""What of a file the store lacks, and what that may resemble, in the order of packs.

numpy comes with this module, so it is imported when the file was read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from git_theta.bundles import gather
from git_theta.describe import Description
from git_theta.errors import ThetaError
from git_theta.lineage import Lineage, Role, parts
from git_theta.metadata import Metadata
from git_theta.plugins import Plugins
from git_theta.scanned import Scanned
from git_theta.skeleton import Origin, read_skeleton
from git_theta.storage.index import Location
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import SHORT, BufferId
from git_theta.storage.wanted import Wanted
from git_theta.table import Run, Table, read_table
from git_theta.updates.choose import CHOSEN, Form
from git_theta.updates.grounds import Bases, Candidate


def lacking(
    scanned: Scanned,
    patched: BufferId | None,
    lineage: Lineage,
    places: Mapping[BufferId, Location],
    form: Form | None,
) -> Iterator[Wanted]:
    """What rebuilding the file needs and the store lacks, in the order in which packs are filled.

    An empty buffer is never stored. ``patched`` is what the skeleton may be told in terms of.
    """
    source, runs, digested, described, _, chunks = scanned
    form = form or CHOSEN
    bases = Bases([Candidate(patched)]) if patched else Bases()
    seen = set(places)
    for chunk in chunks:
        identity = chunk.identity
        if identity not in seen:
            seen.add(identity)
            yield Wanted(((identity, chunk.data.size),), chunk.data, bases)

    missing = {
        identity: runs[number]
        for _, identity, number in described.stored
        if identity not in seen and runs[number].nbytes
    }
    short = [run.nbytes for run in missing.values() if run.nbytes < SHORT]
    pays = lineage.pays(len(short), sum(short))
    roles = _roles(described, runs, shortest=0 if pays else SHORT)
    for one in gather(source, digested, missing.items()):
        if not one.blocks:
            role = roles.get(one.buffers[0][0])
            one = related(one, role, lineage) if role else one
            yield one._replace(form=form)
        elif pays and form == CHOSEN:
            yield related_each(one, roles, lineage)
        else:
            yield one


def _roles(described: Description, runs: Sequence[Run], shortest: int) -> dict[BufferId, Role]:
    """What the runs are in the file, but the very short ones; of equal ones, the first."""
    groups, viewed = described.groups, parts(described.table, described.groups)
    by_name = {group.name: group for group in groups} if viewed else {}
    roles: dict[BufferId, Role] = {}
    for item, identity, number in described.stored:
        if runs[number].nbytes < shortest or identity in roles:
            continue
        if item <= len(groups):
            roles[identity] = Role(groups[item - 1])
        elif number in viewed:
            name, part = viewed[number]
            roles[identity] = Role(by_name[name], part)
    return roles


def related(wanted: Wanted, role: Role, lineage: Lineage) -> Wanted:
    """What to store, with what it may resemble; its shape where it is some rows of a group."""
    group, size = role.group, wanted.data.size
    row = group.nbytes // group.shape[0] if group.shape and group.nbytes else 0
    rows = bool(row) and wanted.buffers[0][0].dtype == group.dtype and size % row == 0
    shape = (size // row, *group.shape[1:]) if rows else None
    return wanted._replace(bases=lineage.bases(role), shape=shape)


def related_each(bundle: Wanted, roles: Mapping[BufferId, Role], lineage: Lineage) -> Wanted:
    """A bundle, with what each of its buffers was in the versions at hand."""
    near = [
        lineage.bases(roles[buffer]).near if buffer in roles else () for buffer, _ in bundle.buffers
    ]
    return bundle._replace(near=tuple(near) if any(near) else ())


def lineage_of(
    described: Description,
    versions: Sequence[bytes],
    older: Callable[[], Iterable[bytes]],
    path: str,
    store: LocalStore,
    plugins: Plugins,
) -> Lineage:
    """What a file's groups were, in the versions at hand and in those that ``older`` finds."""
    names = {group.name for group in described.groups}
    return Lineage(versions, older, names, partial(_read_table, store, plugins, path))


def _read_table(store: LocalStore, plugins: Plugins, path: str, metadata: Metadata) -> Table | None:
    try:
        skeleton = read_skeleton(Origin(metadata, path, store, plugins))
        return read_table(skeleton, metadata, path)[0]
    except ThetaError:  # lost or damaged: nothing to compare with
        return None
