"""A file whose coded buffers lie open: in place of each frame its recipe, then its numbers.

All that comes after sees numbers in a file, as ever. What is opened goes into a file without a
name, so that memory does not grow with it; the rest stays where it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from operator import itemgetter
from pathlib import Path
from typing import IO, NamedTuple

from git_theta.checkpoint import Buffer, Layout, check_layout
from git_theta.crew import Crew, can_fork
from git_theta.errors import CheckpointError, FormatMismatch, LimitExceeded, PackError, StoreError
from git_theta.joined import Joined
from git_theta.metadata import MAX_ITEMS
from git_theta.parallel import worker_count
from git_theta.source import FileSource, Source
from git_theta.storage.interface import Advance, unwatched
from git_theta.table import MAX_MORE, MAX_RATIO, MAX_RECIPE

Unfold = Callable[[Source, Callable[[bytes | memoryview], None]], bytes | None]
"""Opens a frame: gives its recipe, None if there is none, and its content to a function."""

MUCH = 8 * 2**20
"""Bytes to open for which processes are forked."""

REMEDY = "Save it without compression, so that git-theta sees its arrays one by one"
"""What to do about frames that stay closed."""


class Unfolded(NamedTuple):
    """A file of which buffers were opened."""

    file: Source
    """It lasts as long as the context in which it was opened."""
    layout: Layout
    """No buffer has a coding, and a recipe is one of its own. What stays closed belongs to none."""
    recipes: Mapping[int, int]
    """Which buffers are recipes, with the bytes of each one's frame; the next has its numbers."""
    advance: Advance
    """To be told of what is read and stored, in terms of the bytes that the file had before."""


@contextmanager
def unfolded(
    file: Source,
    layout: Layout,
    folder: Path,
    advance: Advance = unwatched,
    *,
    begin: Callable[[], None] = lambda: None,
) -> Iterator[Unfolded]:
    """Open the coded buffers of a file; one that has none is given as it is.

    Parameters
    ----------
    file, layout
        The file, and what its format says of it.
    folder
        Where to keep what was opened; where it cannot be written to, as when somebody only looks at
        a repository of others, it is kept among the system's temporary files.
    advance
        Told how many bytes were worked on, of twice those of the file.
    begin
        What a forked process calls before it reads the file.

    Raises
    ------
    FormatMismatch
        When the format found nothing but coded buffers and none of them can be opened.
    LimitExceeded
        When there are more buffers than metadata can hold.
    StoreError
        When there is no room for what was opened.
    """
    if not any(map(itemgetter(4), layout.buffers)):
        yield Unfolded(file, layout, {}, advance)
        return
    chosen = _choose(file, layout.buffers)
    if len(layout.buffers) + len(chosen) > MAX_ITEMS:
        raise LimitExceeded(
            f"Expected at most {MAX_ITEMS} buffers and recipes of frames, found "
            f"{len(layout.buffers)} and {len(chosen)}"
        )
    nbytes = sum(buffer.nbytes for buffer in chosen.values())
    grown = file.size - nbytes + sum(buffer.decoded for buffer in chosen.values())
    paced = _paced(advance, 2 * file.size, nbytes + 2 * grown)
    with ExitStack() as stack:
        try:
            fd = stack.enter_context(_aside(folder)).fileno()
            places = _open_all(file, chosen, fd, paced, begin)
        except OSError as fault:
            raise StoreError(
                f"Cannot keep {grown} bytes of opened arrays aside in {folder}: {fault}",
                remedy="Free some space (or mend the disk), then run the command again",
            ) from fault
        yield _lay_out(file, layout, FileSource(fd), places, paced)


def _aside(folder: Path) -> IO[bytes]:
    """A file without a name."""
    import tempfile  # here, since few files have anything to open

    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder, buffering=0)
    except OSError:
        return tempfile.TemporaryFile(buffering=0)


def _choose(file: Source, buffers: Sequence[Buffer]) -> dict[int, Buffer]:
    """The frames to open, by number: as many as there is room for."""
    left = MAX_RATIO * file.size + MAX_MORE
    chosen = {}
    for number, buffer in enumerate(buffers):
        if buffer.coding and buffer.decoded <= left:
            left -= buffer.decoded
            chosen[number] = buffer
    return chosen


class _Place(NamedTuple):
    """Where a frame's recipe and numbers lie, one after the other or not, in what was opened."""

    recipe: tuple[int, int]
    numbers: tuple[int, int]


def _open_all(
    file: Source,
    chosen: Mapping[int, Buffer],
    fd: int,
    advance: Advance,
    begin: Callable[[], None],
) -> dict[int, _Place]:
    """Write what is in frames, then their recipes; where they lie of those that can be opened."""
    from git_theta.frames import unfold  # here, and before processes are forked

    starts, end = {}, 0
    for number, buffer in chosen.items():
        starts[number], end = end, end + buffer.decoded

    def work(number: int) -> Iterator[bytes]:
        yield _open(file, chosen[number], fd, starts[number], unfold)

    places = {}
    for number, recipe in _on_all_cores(work, chosen, begin):
        buffer = chosen[number]
        if recipe:
            places[number] = _Place((end, len(recipe)), (starts[number], buffer.decoded))
            _write(fd, recipe, end)
            end += len(recipe)
        advance(buffer.nbytes)
    return places


def _on_all_cores(
    work: Callable[[int], Iterator[bytes]],
    chosen: Mapping[int, Buffer],
    begin: Callable[[], None],
) -> Iterator[tuple[int, bytes | memoryview]]:
    """What ``work`` gives for each frame, in their order."""
    nbytes = sum(buffer.nbytes for buffer in chosen.values())
    if nbytes < MUCH or len(chosen) == 1 or worker_count() == 1 or not can_fork():
        yield from ((number, recipe) for number in chosen for recipe in work(number))
        return
    with Crew(work, min(worker_count(), len(chosen)), begin=begin) as crew:
        for number, task in [(number, crew.ask(number)) for number in chosen]:
            yield from ((number, recipe) for recipe in crew.results(task))


def _open(file: Source, buffer: Buffer, fd: int, start: int, unfold: Unfold) -> bytes:
    """Write a frame's numbers; its recipe, b"" where it cannot be opened."""
    end = start + buffer.decoded
    at = start

    def write(data: bytes | memoryview) -> None:
        nonlocal at
        if at + len(data) > end:
            raise PackError(f"Expected {buffer.decoded} bytes in a frame, found more")
        _write(fd, data, at)
        at += len(data)

    try:
        recipe = unfold(file.window(buffer.start, buffer.nbytes), write)
    except PackError:
        return b""
    return recipe if recipe and at == end and len(recipe) <= MAX_RECIPE else b""


def _write(fd: int, data: bytes | memoryview, at: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, at)
        view, at = view[count:], at + count


def _lay_out(
    file: Source, layout: Layout, opened: Source, places: Mapping[int, _Place], advance: Advance
) -> Unfolded:
    """The file with what was opened in its place."""
    pieces: list[Source] = []
    buffers: list[Buffer] = []
    numbers: dict[int, int] = {}
    recipes: dict[int, int] = {}
    end = at = 0

    def add(piece: Source, buffer: Buffer | None = None) -> None:
        nonlocal at
        if buffer is not None:
            buffers.append(Buffer(buffer.dtype, at, piece.size, buffer.big_endian))
        pieces.append(piece)
        at += piece.size

    for number, buffer in enumerate(layout.buffers):
        place = places.get(number)
        if buffer.coding and place is None:
            continue
        add(file.window(end, buffer.start - end))
        if place is None:
            piece = file.window(buffer.start, buffer.nbytes)
        else:
            recipes[len(buffers)] = buffer.nbytes
            add(opened.window(*place.recipe), Buffer("U8", 0, 0))
            piece = opened.window(*place.numbers)
        numbers[number] = len(buffers)
        add(piece, buffer)
        end = buffer.start + buffer.nbytes
    if not buffers:
        raise FormatMismatch(
            "Expected frames of zstd that can be opened and given back, found none", remedy=REMEDY
        )
    add(file.window(end, file.size - end))
    tensors = [
        tensor._replace(buffer=numbers[tensor.buffer])
        for tensor in layout.tensors
        if tensor.buffer in numbers
    ]
    found = Layout(tuple(buffers), tuple(tensors), layout.nested)
    try:
        check_layout(found, at)  # views of what is opened may be more than a file should have
    except CheckpointError as fault:
        raise FormatMismatch(str(fault)) from fault
    return Unfolded(Joined(pieces), found, recipes, advance)


def _paced(advance: Advance, total: int, work: int) -> Advance:
    """Tells ``advance`` of ``work`` bytes as if they were ``total``."""
    done = 0

    def paced(nbytes: int) -> None:
        nonlocal done
        before = done * total // work
        done += nbytes
        advance(done * total // work - before)

    return paced
