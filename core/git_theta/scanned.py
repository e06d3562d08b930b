"""A file taken apart and digested: all that is known of it before the store is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from git_theta.chunks import Chunk, cut
from git_theta.describe import Description, describe, skeleton_source
from git_theta.digested import Digested
from git_theta.digests import digest_runs, digest_tensors, whole_runs
from git_theta.metadata import Skeleton
from git_theta.source import Source
from git_theta.storage.payload import BufferId
from git_theta.storage.unfolded import Unfolded
from git_theta.table import Run, cut_runs


class Scanned(NamedTuple):
    """A file taken apart."""

    source: Source
    """Its bytes, with frames opened."""
    runs: Sequence[Run]
    """Its numbers, as they lie in it."""
    digested: Digested
    """What short runs held when they were digested."""
    described: Description
    """Groups and buffers in metadata's terms."""
    skeleton: Skeleton
    chunks: Sequence[Chunk]
    """What the skeleton is stored as."""

    @property
    def items(self) -> list[tuple[int, BufferId]]:
        """All that rebuilds the file: numbers of items, and their buffers."""
        found = [(0, chunk.identity) for chunk in self.chunks]
        return found + [(item, identity) for item, identity, _ in self.described.stored]

    @property
    def needed(self) -> list[BufferId]:
        """Buffers of which there is at least a byte to be stored."""
        found = [chunk.identity for chunk in self.chunks if chunk.data.size]
        stored = self.described.stored
        return found + [buffer for _, buffer, number in stored if self.runs[number].nbytes]


def scan(opened: Unfolded) -> Scanned:
    """Take a file apart.

    Raises
    ------
    LimitExceeded
        When it has more parts than metadata can tell apart.
    """
    source, layout, recipes, advance = opened
    runs, first = cut_runs(layout)
    run_digests, digested = digest_runs(source, runs, advance)
    whole = whole_runs(layout, runs, first)
    tensor_digests = digest_tensors(source, layout, whole, run_digests)
    described = describe(layout, runs, first, whole, run_digests, tensor_digests, recipes)
    skeleton, chunks = cut(skeleton_source(source, described.table, runs))
    return Scanned(source, runs, digested, described, skeleton, chunks)
