"""What a checkpoint format can do: plugin authors subclass :class:`CheckpointFormat`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from git_theta.checkpoint import Layout
from git_theta.source import Source

HEAD_BYTES = 4096
"""How many bytes of a file's start :meth:`CheckpointFormat.matches` is shown, at most."""


class TensorData(NamedTuple):
    """A parameter group with its value."""

    dtype: str
    """safetensors' name of the dtype."""
    shape: tuple[int, ...]
    """Elements by dimension."""
    data: Source
    """The elements, contiguous, row-major, little-endian."""


class ScanContext(Protocol):
    """What the kernel tells a format about the file besides its bytes."""

    @property
    def path(self) -> str:
        """Path of the file from the top of the work tree, for messages; "" where there is none."""

    def scan_part(self, part: Source, name: str) -> Layout | None:
        """Ask the installed formats about a part of the file; None when none knows it."""

    def splice_part(self, part: Source, name: str, changed: Mapping[int, Source]) -> Source:
        """Splice a part that :meth:`scan_part` knew; indices are those of the part's layout."""

    def sibling(self, name: str) -> Source | None:
        """Another file near this one; None where there is none.

        ``name`` is a path relative to the file's folder, with slashes: ``model.index``,
        ``../manifest.ocdbt``. The file is that of the work tree, else that of the index, or what
        the commit has that is being converted; always what was saved, never git-theta's metadata.
        It lies in the repository and is no symlink. Parts of a container have no siblings.

        It may be of any size and hold anything, as the file itself.
        """


class CheckpointFormat(ABC):
    """A kind of file in which parameter groups can be found.

    A format reads without its framework: it finds where the bytes lie, the kernel does the rest.
    It must survive any file: raise :class:`~git_theta.errors.CheckpointError`, never hang, never
    reserve memory that a file merely claims, never execute what a file holds.

    Examples
    --------
    >>> from git_theta.checkpoint import Buffer, Layout, Tensor
    >>> class Flat(CheckpointFormat):
    ...     "A file of the magic FLAT and F32 numbers: one group."
    ...     name = "flat"
    ...     def matches(self, head, path):
    ...         return head.startswith(b"FLAT")
    ...     def scan(self, file, context):
    ...         n = (file.size - 4) // 4
    ...         return Layout((Buffer("F32", 4, 4 * n),), (Tensor("values", "F32", (n,), 0),))
    """

    name: str
    """Name of the format in metadata and messages: lower case, digits, hyphens."""

    @abstractmethod
    def matches(self, head: bytes, path: str) -> bool:
        """Whether the file may be of this format, judged by its first bytes.

        ``head`` holds at most :data:`HEAD_BYTES` bytes. Be quick and generous: :meth:`scan` may
        still raise :class:`~git_theta.errors.FormatMismatch`. ``path`` is for formats that have no
        magic number; the content decides wherever it can.
        """

    @abstractmethod
    def scan(self, file: Source, context: ScanContext) -> Layout:
        """Find the parameter groups of a file.

        Raises
        ------
        FormatMismatch
            When the file is of another format; the next one is asked.
        CheckpointError
            When the file is of this format and malformed; it is stored as unknown, with a warning.
        """

    def splice(
        self,
        template: Source,
        layout: Layout,
        changed: Mapping[int, Source],
        context: ScanContext,
    ) -> Source:
        """A file of the same structure in which some buffers have other values.

        ``layout`` is what :meth:`scan` returned for ``template``; ``changed`` maps indices of
        ``layout.buffers`` to sources of the same length, in the file's byte order; buffers that
        have a coding are never among them. Formats whose files carry checksums override this and
        recompute them.
        """
        from git_theta.formats.overlay import Overlay

        return Overlay(
            template, {layout.buffers[index].start: value for index, value in changed.items()}
        )

    def splice_beside(
        self,
        template: Source,
        layout: Layout,
        changed: Mapping[int, Source],
        context: ScanContext,
    ) -> Mapping[str, Source]:
        """The other files that change along with a splice: checksums that lie elsewhere.

        Arguments are those of :meth:`splice`; the names of the files are such as
        :meth:`ScanContext.sibling` takes. Each keeps its structure.
        """
        return {}

    def folders(self, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """The checkpoints among files that are folders, and what of each git-theta should store.

        ``names`` are paths of files with slashes, relative to some folder. The answer has the
        checkpoints' folders, relative to the same one ("" is itself), each with patterns of
        gitattributes (``*``, ``?`` and ``**``), relative to the checkpoint, that match the files in
        which weights lie. What is small, or text, stays out: git itself does well with it.
        """
        return {}

    def write(
        self, tensors: Mapping[str, TensorData], template: Source | None, out: BinaryIO
    ) -> None:
        """Write a file of a new structure through the framework's own library.

        ``template`` is a file of this format whose other content (configuration, nesting) is
        kept; None: a plain file that holds nothing but the groups.

        Raises
        ------
        CheckpointError
            When the format cannot hold what it is given.
        MissingPluginError
            When the framework is not installed; the message has the ``pip install`` line.
        """
        from git_theta.errors import CheckpointError

        raise CheckpointError(
            f"The format {self.name} can only be read, not written anew",
            remedy="Save the checkpoint with its own framework",
        )

    def write_to(
        self,
        tensors: Mapping[str, TensorData],
        template: Source | None,
        path: Path,
        context: ScanContext,
    ) -> None:
        """Write a checkpoint of a new structure to ``path``, and what belongs beside it.

        A format of several files overrides this in place of :meth:`write`. One that names them
        itself, as its checkpoints are folders, makes a folder of ``path``, where nothing may be.
        ``context`` is that of the template, whose siblings it finds; everything else is as for
        :meth:`write`.
        """
        with path.open("wb") as out:
            self.write(tensors, template, out)
