"""What ``flax.serialization`` writes: nested maps in msgpack, arrays as extensions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO

from git_theta.checkpoint import Buffer, Layout, Tensor
from git_theta.errors import CheckpointError, FormatMismatch
from git_theta.formats.interface import CheckpointFormat, ScanContext, TensorData
from git_theta.source import Source
from theta_flax.arrays import Array
from theta_flax.names import Namer
from theta_flax.packed import Packed
from theta_flax.walk import find_arrays

_FIRST_BYTES = frozenset(
    (*range(0x80, 0xA0), *range(0xC7, 0xCA), *range(0xD4, 0xD9), *range(0xDC, 0xE0))
)
"""Those of maps, lists and extensions."""

_SUFFIX = ".msgpack"


class FlaxMsgpack(CheckpointFormat):
    """A checkpoint of ``flax.serialization.to_bytes`` or ``msgpack_serialize``.

    What the maps hold beside arrays stays in the skeleton. Nothing carries a checksum.
    """

    name = "flax-msgpack"

    def matches(self, head: bytes, path: str) -> bool:
        """Whether a map, a list or an extension comes first; the suffix says nothing."""
        return head != b"" and head[0] in _FIRST_BYTES

    def scan(self, file: Source, context: ScanContext) -> Layout:
        """Find the arrays by the path at which they hang."""
        return _lay_out(_find(file, claimed=context.path.endswith(_SUFFIX)))

    def write(
        self, tensors: Mapping[str, TensorData], template: Source | None, out: BinaryIO
    ) -> None:
        """Write by ``msgpack_serialize``: as the template is nested, or as the names are."""
        from theta_flax.writing import write_with_flax

        known = _lay_out(_find(template, claimed=True)) if template else Layout()
        write_with_flax(tensors, template, known, out)


def _lay_out(arrays: Iterable[tuple[str, Array]]) -> Layout:
    buffers: list[Buffer] = []
    tensors: list[Tensor] = []
    namer = Namer()
    for path, (dtype, shape, start, nbytes) in arrays:
        if dtype:
            tensors.append(Tensor(namer.name(path), dtype, shape, len(buffers)))
        buffers.append(Buffer(dtype or "U8", start, nbytes))  # kept once, without a name
    return Layout(tuple(buffers), tuple(tensors))


def _find(file: Source, *, claimed: bool) -> Iterator[tuple[str, Array]]:
    """The arrays of a file that may begin like msgpack by chance, unless its name claims it is."""
    packed, found = Packed(file), False
    try:
        for found_array in find_arrays(packed):
            found = True
            yield found_array
        if packed.pos != file.size:
            raise CheckpointError(f"Expected {packed.pos} bytes, found {file.size}")
    except CheckpointError as fault:
        if found or claimed:
            raise
        raise FormatMismatch("Expected msgpack that flax wrote, found something else") from fault
    if not found:
        raise FormatMismatch("Expected msgpack with arrays of flax, found none")
