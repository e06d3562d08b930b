"""Where the buffers of a file lie in it, so that they need not be decoded."""

from __future__ import annotations

from git_theta.items import all_items
from git_theta.skeleton import Origin, read_skeleton
from git_theta.source import Source
from git_theta.storage.payload import BufferId
from git_theta.table import read_table
from git_theta.views import swapped


def buffers_in(file: Source, origin: Origin) -> dict[BufferId, Source]:
    """The buffers of a file whose metadata is known; those inside of frames are left out.

    That the file still has them is for whoever reads them to find out.

    Raises
    ------
    ThetaError
        When the metadata is malformed, or the store lacks the skeleton.
    """
    skeleton = read_skeleton(origin)
    table, _ = read_table(skeleton, origin.metadata, origin.path)
    items, found, at = all_items(origin.metadata), {}, 0
    frames = {frame.run: frame for frame in table.frames}
    runs = enumerate(zip(table.gaps, table.items, table.big_endian, strict=True))
    for run, (gap, item, big_endian) in runs:
        at += gap
        if run in frames:
            at += frames[run].nbytes
            for _ in range(frames[run].runs):
                next(runs)
            continue
        identity, nbytes = items[item]
        window = file.window(at, nbytes)
        found[identity] = swapped(window, identity.dtype) if big_endian else window
        at += nbytes
    return found
