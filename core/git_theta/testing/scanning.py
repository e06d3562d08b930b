"""How the checks of a format scan, splice and compare its files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import gettempdir

from git_theta.checkpoint import Layout, check_layout
from git_theta.errors import FormatMismatch
from git_theta.formats.detect import Context, beside, detect
from git_theta.formats.interface import HEAD_BYTES, CheckpointFormat
from git_theta.plugins import Plugins
from git_theta.source import BytesSource, FileSource, Source
from git_theta.storage.unfolded import unfolded
from git_theta.testing.registered import plugins_with
from git_theta.testing.values import Value, read_values


def context_of(plugins: Plugins, name: str, others: Mapping[str, bytes]) -> Context:
    """The context of a file with others beside it, by the names that formats ask for."""
    files = {beside(name, other): data for other, data in others.items()}

    def open_sibling(path: str) -> Source | None:
        return BytesSource(files[path]) if path in files else None

    return Context(plugins, name, open_sibling)


def scan_and_splice(
    format: CheckpointFormat, samples: Mapping[str, tuple[bytes, Mapping[str, bytes]]]
) -> None:
    """Find, scan and splice each sample, which comes with the files beside it."""
    plugins = plugins_with("theta_checkpoint_formats", format)
    for name, (data, others) in samples.items():
        file, context = BytesSource(data), context_of(plugins, name, others)
        assert detect(file, name, plugins, context.siblings).formats[0] == format.name
        splice_same(format, file, format.scan(file, context), context)


def read_folder(format: CheckpointFormat, plugins: Plugins, folder: Path) -> dict[str, Value]:
    """The groups of a checkpoint that is a folder: those of all its files."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    files = {str(path.relative_to(folder.parent)): BytesSource(path.read_bytes()) for path in paths}
    values: dict[str, Value] = {}
    for name, file in files.items():
        found = detect(file, name, plugins, files.get)
        if found.formats[0] == format.name:
            groups = read_values(file, found.layout)
            assert not values.keys() & groups.keys(), f"{name}: expected groups of its own"
            values |= groups
    return values


def splice_same(format: CheckpointFormat, file: Source, layout: Layout, context: Context) -> None:
    """Splice all buffers with what they have and read the result."""
    changed = {n: file.window(*b[1:3]) for n, b in enumerate(layout.buffers) if not b.coding}
    spliced = format.splice(file, layout, changed, context)
    for source in (spliced, *format.splice_beside(file, layout, changed, context).values()):
        for _ in source.blocks():
            pass


def check_frames(name: str, file: Source, layout: Layout, folder: Path) -> None:
    """Fail unless all coded buffers can be opened, and hold what the layout says."""
    expected = sorted(buffer.nbytes for buffer in layout.buffers if buffer.coding)
    try:
        with unfolded(file, layout, folder) as opened:
            found = sorted(opened.recipes.values())
            assert found == expected, f"{name}: expected frames of {expected}, found {found}"
            values = read_values(opened.file, opened.layout)
    except FormatMismatch as fault:
        raise AssertionError(f"{name}: expected frames of {expected}, found none") from fault
    assert_same_values(f"{name}, opened", read_values(file, layout), values)


def read_hostile(format: CheckpointFormat, data: bytes, context: Context) -> None:
    """Scan, splice and open a file that may lie."""
    file = BytesSource(data)
    if not format.matches(data[:HEAD_BYTES], context.path):
        return
    layout = format.scan(file, context)
    check_layout(layout, file.size)
    splice_same(format, file, layout, context)
    with suppress(FormatMismatch), unfolded(file, layout, Path(gettempdir())) as opened:
        check_layout(opened.layout, opened.file.size)


def other_values(data: bytes, layout: Layout, number: int) -> bytes:
    """Other values for a buffer, still truth values where the dtype is BOOL."""
    _, start, nbytes, *_ = layout.buffers[number]
    return bytes(byte ^ 1 for byte in data[start : start + nbytes])


def outside_buffers(layout: Layout, size: int) -> list[range]:
    """Where the structure of a file lies; frames are of it, since they can be malformed."""
    raw = [buffer for buffer in layout.buffers if not buffer.coding]
    edges = [0, *(edge for b in raw for edge in (b.start, b.start + b.nbytes)), size]
    return [range(low, high) for low, high in zip(edges[::2], edges[1::2], strict=True)]


def assert_same_values(
    name: str, expected: Mapping[str, Value], found: Mapping[str, Value]
) -> None:
    """Fail unless both have the same groups with the same values."""
    lost, added = expected.keys() - found.keys(), found.keys() - expected.keys()
    assert not lost | added, f"{name}: lost groups {sorted(lost)}, added {sorted(added)}"
    for group, value in expected.items():
        dtype, shape, data = found[group]
        told, there = (value[0], tuple(value[1])), (dtype, shape)
        assert there == told, f"{name}, {group}: expected {told}, found {there}"
        assert data == bytes(value[2]), f"{name}, {group}: the values differ"


def write_sample(
    folder: Path, name: str, data: bytes, others: Mapping[str, bytes] | None = None
) -> Path:
    """A file below ``folder``, and others near it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    for other, content in (others or {}).items():
        (path.parent / other).parent.mkdir(parents=True, exist_ok=True)
        (path.parent / other).write_bytes(content)
    return path


@contextmanager
def opened(path: Path) -> Iterator[FileSource]:
    """A file as a source."""
    fd = os.open(path, os.O_RDONLY)
    try:
        yield FileSource(fd)
    finally:
        os.close(fd)
