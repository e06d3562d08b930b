"""What every checkpoint format must hold: subclass :class:`FormatConformance`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from unittest import SkipTest

from git_theta.checkpoint import Layout, check_layout
from git_theta.errors import CheckpointError, MissingPluginError
from git_theta.formats.detect import Context, beside, detect
from git_theta.formats.interface import HEAD_BYTES, CheckpointFormat, TensorData
from git_theta.plugins import Plugins
from git_theta.source import BytesSource, Source
from git_theta.testing.hostile import attempt, damaged, every_damage, noise, truncations
from git_theta.testing.laziness import frameworks_imported
from git_theta.testing.memory import at_most
from git_theta.testing.registered import plugins_with
from git_theta.testing.scanning import (
    assert_same_values,
    check_frames,
    context_of,
    opened,
    other_values,
    outside_buffers,
    read_folder,
    read_hostile,
    scan_and_splice,
    write_sample,
)
from git_theta.testing.values import Value, read_values


class FormatConformance:
    """The checks of a checkpoint format.

    Examples
    --------
    >>> from git_theta.formats.npy import Npy
    >>> class TestNpy(FormatConformance):
    ...     "One sample, and numpy as the oracle."
    ...     format = Npy()
    ...     def samples(self):
    ...         return {"zeros.npy": zeros_as_npy()}
    ...     def oracle(self, file):
    ...         array = np.load(file)
    ...         return {"array": Value("F64", array.shape, array.tobytes())}
    """

    format: CheckpointFormat
    """The format under test."""
    by_content: bool = True
    """Whether files are known by their content, whatever they are called."""
    writes: bool = False
    """Whether :meth:`~git_theta.formats.interface.CheckpointFormat.write` is offered."""
    memory_bound: int = 32 * 2**20
    """Bytes that a scan may allocate, whatever the file holds or claims."""
    damages: int = 300
    """Damaged copies to make of each sample."""

    def samples(self) -> Mapping[str, bytes]:
        """Small valid files (up to a few MiB), by the path that the format is told."""
        raise NotImplementedError("Expected samples() to return valid files")

    def beside(self, name: str) -> Mapping[str, bytes]:
        """The files beside the sample ``name``, by the names that the format asks for."""
        return {}

    def expected(self, name: str) -> Mapping[str, Value] | None:
        """What the sample ``name`` holds, by parameter group; None: ask :meth:`oracle`."""
        return None

    def oracle(self, file: Path) -> Mapping[str, Value] | None:
        """What the format's own library reads from a file; None: there is no such library."""
        return None

    def large(self, folder: Path) -> Path | None:
        """A valid file made in ``folder``, many times larger than the bound; it may be sparse."""
        return None

    # ---- reading ---------------------------------------------------------------------------------

    def test_samples_are_found_by_content(self) -> None:
        """Detection names this format, whatever the file is called."""
        for name, data in self.samples().items():
            for path in (name, "renamed.bin", "") if self.by_content else (name,):
                siblings = self._context(name).siblings
                found = detect(BytesSource(data), path, self._plugins, siblings)
                assert found.formats[0] == self.format.name, (
                    f"{name} as {path!r}: expected {self.format.name}, "
                    f"found {found.formats[0]} {found.warning}"
                )

    def test_samples_have_valid_groups(self) -> None:
        """Layouts lie inside their files, and some sample has parameter groups."""
        layouts = [self._scan(name, data) for name, data in self.samples().items()]
        assert any(layout.tensors for layout in layouts), "Expected a sample that has groups"

    def test_names_and_values_are_as_expected(self, tmp_path: Path) -> None:
        """Names, dtypes, shapes and bytes are those that the author or the library tells."""
        told = 0
        for name, data in self.samples().items():
            expected = self.expected(name)
            if expected is None:
                expected = self.oracle(write_sample(tmp_path, name, data, self.beside(name)))
            if expected is not None:
                told += 1
                assert_same_values(name, expected, self._values(name, data))
        if not told:
            raise SkipTest("expected() and oracle() tell nothing")

    def test_coded_buffers_can_be_opened_and_given_back(self, tmp_path: Path) -> None:
        """Frames hold as many bytes as the layout says, and nothing is lost in opening them."""
        for name, data in self.samples().items():
            check_frames(name, BytesSource(data), self._scan(name, data), tmp_path)

    def test_scan_is_the_same_for_every_source(self, tmp_path: Path) -> None:
        """A file, memory, and a part of something larger give the same layout, again and again."""
        for name, data in self.samples().items():
            layout = self._scan(name, data)
            assert self._scan(name, data) == layout, f"{name}: two scans differ"
            part = BytesSource(b"\x80" * 13 + data + b"\x80" * 7).window(13, len(data))
            assert self._scan(name, part) == layout, f"{name}: differs as a part"
            with opened(write_sample(tmp_path, name, data)) as file:
                assert self._scan(name, file) == layout, f"{name}: differs as a file"

    def test_imports_no_framework(self) -> None:
        """Finding, scanning and splicing load no framework."""
        samples = {name: (data, dict(self.beside(name))) for name, data in self.samples().items()}
        found = frameworks_imported(scan_and_splice, self.format, samples)
        assert not found, f"Expected no framework, found {', '.join(found)}"

    def test_memory_is_bounded(self, tmp_path: Path) -> None:
        """A scan allocates no more than the bound."""
        large = self.large(tmp_path)
        if large is not None:
            self._scan_in_bounds(large, large.name)
        for name, data in self.samples().items():
            self._scan_in_bounds(write_sample(tmp_path, name, data), name)

    def test_folders_are_found_among_any_names(self) -> None:
        """Folders that are told are those of some file, and their patterns are what they may be."""
        names = [*self.samples(), "", "a", "a/", "a/b c/\n", "/a", "../a", "é/\udcff"]
        for name in self.samples():
            names += [beside(f"deep/er/{name}", other) for other in self.beside(name)]
            names.append(f"deep/er/{name}")
        for folder, patterns in self.format.folders(names).items():
            inside = [name for name in names if not folder or name.startswith(f"{folder}/")]
            assert inside, f"Expected the folder of some file, found {folder!r}"
            assert patterns, f"Expected patterns for what lies in {folder!r}"
            for pattern in patterns:
                plain = pattern and not re.search(r"^[/!#]|[\[\\\s]", pattern)
                assert plain, f"Expected a relative pattern of *, ? and **, found {pattern!r}"

    # ---- writing ---------------------------------------------------------------------------------

    def test_splice_of_the_same_values_gives_the_same_bytes(self) -> None:
        """Nothing changes in a file whose buffers are replaced by themselves."""
        for name, data in self.samples().items():
            layout = self._scan(name, data)
            file = BytesSource(data)
            same = {n: file.window(*b[1:3]) for n, b in enumerate(layout.buffers) if not b.coding}
            for changed in ({}, same):
                assert self._splice(name, data, layout, changed) == data, f"{name} changed"

    def test_splice_of_other_values_reads_back(self, tmp_path: Path) -> None:
        """Changed buffers have their new values, others their old, in the format's library too."""
        for name, data in self.samples().items():
            layout = self._scan(name, data)
            raw = [n for n, buffer in enumerate(layout.buffers) if not buffer.coding]
            for chosen in (raw, raw[len(raw) // 2 :][:1], raw[::2]):
                changed = {n: other_values(data, layout, n) for n in chosen}
                spliced = self._splice(name, data, layout, changed)
                assert self._scan(name, spliced) == layout, f"{name}: the structure changed"
                for n, (_, start, nbytes, *_) in enumerate(layout.buffers):
                    new = changed[n] if n in changed else data[start : start + nbytes]
                    assert spliced[start : start + nbytes] == new, f"{name}: buffer {n} is wrong"
                others = {**self.beside(name), **self._spliced_beside(name, data, layout, changed)}
                oracle = self.oracle(write_sample(tmp_path, name, spliced, others))
                if oracle is not None:
                    assert_same_values(f"{name}, spliced", oracle, self._values(name, spliced))

    def test_written_files_read_back(self, tmp_path: Path) -> None:
        """Files of the framework's own library have the groups that they were given."""
        if not self.writes:
            raise SkipTest("the format does not write")
        for name, data in self.samples().items():
            values = self._values(name, data)
            groups = {n: TensorData(v[0], v[1], BytesSource(v[2])) for n, v in values.items()}
            for template in (None, BytesSource(data)):
                path = tmp_path / ("templated" if template else "plain") / Path(name).name
                path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    self.format.write_to(groups, template, path, self._context(name))
                except MissingPluginError as fault:
                    raise SkipTest(str(fault)) from fault
                assert_same_values(f"{name}, written", values, self._written(name, path))

    # ---- hostile files ---------------------------------------------------------------------------

    def test_truncated_files_are_refused_or_read(self) -> None:
        """A file cut anywhere is an error of the right kind, or reads within its bounds."""
        for name, data in self.samples().items():
            self._survives(name, truncations(data))

    def test_damaged_files_are_refused_or_read(self) -> None:
        """So is a file with flipped bits or absurd sizes in its structure."""
        for name, data in self.samples().items():
            structure = outside_buffers(self._scan(name, data), len(data))
            self._survives(name, damaged(data, self.damages, where=structure))

    def test_siblings_that_are_lost_or_damaged_are_refused_or_read(self) -> None:
        """So is a file whose siblings are not there, cut, damaged, or not what they should be."""
        for name, data in self.samples().items():
            others = self.beside(name)
            for other, content in others.items():
                for what, damage in every_damage(content, self.damages):
                    context = self._context(name, {**others, other: damage})
                    self._survives_as(name, data, context, f"{other}: {what}")
            if others:
                self._survives_as(name, data, self._context(name, {}), "no siblings")

    def test_noise_is_refused_or_read(self) -> None:
        """So are random bytes behind the magic number."""
        for name, data in self.samples().items():
            self._survives(name, noise(data))

    def _survives(self, name: str, files: Iterator[tuple[str, bytes]]) -> None:
        context = self._context(name)
        for what, data in files:
            self._survives_as(name, data, context, what)

    def _survives_as(self, name: str, data: bytes, context: Context, what: str) -> None:
        where = f"{name}, {what}"
        with at_most(self.memory_bound, where):
            attempt(partial(read_hostile, self.format, data, context), CheckpointError, where)

    # ---- what the checks are made of -------------------------------------------------------------

    @cached_property
    def _plugins(self) -> Plugins:
        return plugins_with("theta_checkpoint_formats", self.format)

    def _context(self, name: str, others: Mapping[str, bytes] | None = None) -> Context:
        return context_of(self._plugins, name, self.beside(name) if others is None else others)

    def _scan_in_bounds(self, path: Path, name: str) -> None:
        context = self._context(name)
        with opened(path) as file, at_most(self.memory_bound, f"a scan of {name}"):
            check_layout(self.format.scan(file, context), file.size)

    def _scan(self, name: str, data: bytes | Source, context: Context | None = None) -> Layout:
        file = BytesSource(data) if isinstance(data, bytes) else data
        head = bytes(file.read(0, min(file.size, HEAD_BYTES)))
        assert self.format.matches(head, name), f"{name}: expected that matches() is true"
        try:
            layout = self.format.scan(file, context or self._context(name))
            check_layout(layout, file.size)
        except CheckpointError as fault:
            raise AssertionError(f"{name}: expected a valid file, found {fault}") from fault
        return layout

    def _values(self, name: str, data: bytes, context: Context | None = None) -> dict[str, Value]:
        return read_values(BytesSource(data), self._scan(name, data, context))

    def _written(self, name: str, path: Path) -> dict[str, Value]:
        """The groups of a file that was written, or of all files in a folder that was."""
        if path.is_dir():
            return read_folder(self.format, self._plugins, path)
        others = {other: (path.parent / other).read_bytes() for other in self.beside(name)}
        return self._values(name, path.read_bytes(), self._context(name, others))

    def _splice(
        self, name: str, data: bytes, layout: Layout, changed: Mapping[int, bytes | Source]
    ) -> bytes:
        sources = {n: BytesSource(v) if isinstance(v, bytes) else v for n, v in changed.items()}
        spliced = self.format.splice(BytesSource(data), layout, sources, self._context(name))
        assert spliced.size == len(data), f"{name}: expected {len(data)} bytes, got {spliced.size}"
        whole = bytes(spliced.read(0, spliced.size))
        blocks = b"".join(bytes(block) for block in spliced.blocks(4093))
        assert blocks == whole, f"{name}: the spliced file differs when read in blocks"
        return whole

    def _spliced_beside(
        self, name: str, data: bytes, layout: Layout, changed: Mapping[int, bytes]
    ) -> dict[str, bytes]:
        sources = {n: BytesSource(v) for n, v in changed.items()}
        context = self._context(name)
        found = self.format.splice_beside(BytesSource(data), layout, sources, context)
        return {other: bytes(new.read(0, new.size)) for other, new in found.items()}
