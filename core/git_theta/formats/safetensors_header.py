"""The JSON header of a safetensors file, read as strictly as the safetensors library reads it.

Stricter than the library, on purpose, in what its README rules out or what nobody writes: the
header starts with ``{``, no key comes twice, a tensor is an object and not an array. It may take
`MAX_HEADER` bytes (the library: 100 MB), because Python needs up to 24 times the memory for it.
"""

from __future__ import annotations

from functools import lru_cache

from git_theta.checkpoint import Buffer, Tensor
from git_theta.dtypes import BITS
from git_theta.errors import CheckpointError, LimitExceeded
from git_theta.formats.safetensors_json import WORD, Header, parse_header
from git_theta.rows import rows
from git_theta.source import Source

MAX_HEADER = 16 * 2**20
"""Bytes that the JSON header may take: 150,000 groups and more."""

MAX_OBJECTS = 2**18
"""JSON objects that the header may hold, half a kilobyte of memory each; a group is one."""

MAX_VALUES = 3 * 2**19
"""Other JSON values that the header may hold, 100 bytes of memory each; a group has seven or so."""


def read_header(file: Source) -> tuple[Header, int]:
    """Read the header of a safetensors file.

    Returns
    -------
    tuple of Header and int
        What it says, and the offset in the file at which the tensors' bytes start.

    Raises
    ------
    CheckpointError
        When it is not the JSON that the format asks for.
    LimitExceeded
        When it is larger than `MAX_HEADER`, `MAX_OBJECTS` or `MAX_VALUES`.
    """
    nbytes = int.from_bytes(file.read(0, 8), "little")
    if nbytes > file.size - 8:
        raise CheckpointError(
            f"Expected a header of {nbytes} bytes, found {file.size - 8} bytes in the whole file"
        )
    if nbytes > MAX_HEADER:
        raise LimitExceeded(f"Expected a header of at most {MAX_HEADER} bytes, found {nbytes}")
    raw = bytes(file.read(8, nbytes))
    for what, limit, marks in (("objects", MAX_OBJECTS, b"{"), ("values", MAX_VALUES, b",[")):
        found = sum(raw.count(mark) for mark in marks)
        if found > limit:
            raise LimitExceeded(f"Expected a header of at most {limit} {what}, found {found}")
    if not raw.startswith(b"{"):
        raise CheckpointError(f"Expected a header that starts with '{{', found {raw[:1]!r}")
    try:
        header = parse_header(str(raw, "utf-8"))
    except (ValueError, RecursionError) as fault:
        raise CheckpointError(f"Expected a header of valid JSON: {fault}") from fault
    return header, 8 + nbytes


def find_tensors(
    header: Header, start: int, size: int
) -> tuple[tuple[Buffer, ...], tuple[Tensor, ...]]:
    """The groups of a header and where their bytes lie: without holes, overlaps or remains.

    Parameters
    ----------
    header
        What :func:`read_header` returned.
    start, size
        Offset in the file at which the tensors' bytes start, and the file's length in bytes.

    Raises
    ------
    CheckpointError
        When offsets, shapes and dtypes contradict each other or the file's size.
    """
    _, names, dtypes, shapes, lows, highs = _sorted(header)
    end = 0
    for number, (low, high) in enumerate(zip(lows, highs, strict=True)):
        if low != end or high < low:
            raise CheckpointError(
                f"Expected the bytes of group {names[number]!r:.200} to start at {end}, where "
                f"those before it end, found them at {low} to {high}"
            )
        end = high
    sizes = [high - low for low, high in zip(lows, highs, strict=True)]
    for number, bits in enumerate(map(_count_bits, dtypes, shapes)):
        nbytes = sizes[number]
        if nbytes * 8 != bits:
            raise CheckpointError(
                f"Group {names[number]!r:.200} is {dtypes[number]} of shape "
                f"{list(shapes[number])!r:.80}, which does not fill its {nbytes} bytes"
            )
    if start + end != size:
        raise CheckpointError(
            f"Expected the last group to end where the file ends, at byte {size}, "
            f"found byte {start + end}"
        )
    return (
        rows(Buffer, dtypes, [start + low for low in lows], sizes),
        rows(Tensor, names, dtypes, shapes, range(len(names))),
    )


def _sorted(header: Header) -> Header:
    """The same groups in the order of their bytes."""
    metadata, names, dtypes, shapes, lows, highs = header
    places = [*zip(lows, highs, strict=True)]
    order = sorted(range(len(names)), key=places.__getitem__)
    if order == [*range(len(names))]:  # as the library writes them
        return header
    return Header(
        metadata,
        [names[n] for n in order],
        [dtypes[n] for n in order],
        [shapes[n] for n in order],
        [lows[n] for n in order],
        [highs[n] for n in order],
    )


@lru_cache(2**12)  # most groups have one of few shapes
def _count_bits(dtype: str, shape: tuple[int, ...]) -> int:
    """Bits of a group's elements; -1 for more elements than 64 bits can count."""
    count = 1
    for extent in shape:
        count *= extent
        if count >= WORD:  # also where a later extent is 0, as in the library
            return -1
    return count * BITS[dtype]
