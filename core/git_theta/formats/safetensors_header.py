"""The JSON header of a safetensors file, read as strictly as the safetensors library reads it.

Stricter than the library, on purpose, in what its README rules out or what nobody writes: the
header starts with ``{``, no key comes twice, a tensor is an object and not an array. It may take
`MAX_HEADER` bytes (the library: 100 MB), because Python needs up to 24 times the memory for it.
"""

from __future__ import annotations

import json
from functools import lru_cache
from itertools import chain, repeat
from typing import Any, NoReturn

from git_theta.checkpoint import Buffer, Tensor
from git_theta.dtypes import BITS
from git_theta.errors import CheckpointError, LimitExceeded
from git_theta.source import Source

MAX_HEADER = 16 * 2**20
"""Bytes that the JSON header may take: 150,000 groups and more."""

MAX_OBJECTS = 2**18
"""JSON objects that the header may hold, half a kilobyte of memory each; a group is one."""

MAX_VALUES = 3 * 2**19
"""Other JSON values that the header may hold, 100 bytes of memory each; a group has seven or so."""

DTYPES = frozenset(BITS) - {"C32", "C128"}
"""The dtypes that the safetensors library knows."""

_WORD = 2**64  # the library counts in 64 bits; what does not fit there is refused


def read_header(file: Source) -> tuple[dict[str, Any], int]:
    """Read the header of a safetensors file.

    Returns
    -------
    tuple of dict and int
        The parsed JSON, and the offset in the file at which the tensors' bytes start.

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
        header = _parse(raw)
    except (ValueError, RecursionError) as fault:
        raise CheckpointError(f"Expected a header of valid JSON: {fault}") from fault
    return header, 8 + nbytes


def check_metadata(header: dict[str, Any]) -> dict[str, str]:
    """The texts under ``__metadata__``.

    Raises
    ------
    CheckpointError
        When they are anything else than texts.
    """
    found = header.get("__metadata__")
    if found is None:
        return {}
    if type(found) is not dict or any(type(value) is not str for value in found.values()):
        raise CheckpointError("Expected __metadata__ to map texts to texts")
    return found


def find_tensors(
    header: dict[str, Any], start: int, size: int
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
    groups = {name: info for name, info in header.items() if name != "__metadata__"}
    if not _are_usual([*groups.values()]):
        for name, info in groups.items():
            _check_group(name, info)
    names = sorted(groups, key=lambda name: groups[name]["data_offsets"])
    infos = [groups[name] for name in names]
    dtypes = [info["dtype"] for info in infos]
    shapes = [tuple(info["shape"]) for info in infos]
    offsets = [info["data_offsets"] for info in infos]
    end = 0
    for name, dtype, shape, (low, high) in zip(names, dtypes, shapes, offsets, strict=True):
        if low != end or high < low:
            raise CheckpointError(
                f"Expected the bytes of group {name!r:.200} to start at {end}, where those before "
                f"it end, found them at {low} to {high}"
            )
        end = high
        if (high - low) * 8 != _count_bits(dtype, shape):
            raise CheckpointError(
                f"Group {name!r:.200} is {dtype} of shape {list(shape)!r:.80}, which does not fill "
                f"its {high - low} bytes"
            )
    if start + end != size:
        raise CheckpointError(
            f"Expected the last group to end where the file ends, at byte {size}, "
            f"found byte {start + end}"
        )
    starts = [start + low for low, _ in offsets]
    sizes = [high - low for low, high in offsets]
    buffers = zip(dtypes, starts, sizes, repeat(False))
    tensors = zip(names, dtypes, shapes, range(len(names)), repeat(0), repeat(None))
    return tuple(map(Buffer._make, buffers)), tuple(map(Tensor._make, tensors))


def _are_usual(infos: list[Any]) -> bool:
    """Whether all of many groups are right, found out by columns; if not, each is looked at."""
    try:
        dtypes = {info["dtype"] for info in infos}
        shapes = [info["shape"] for info in infos]
        offsets = [info["data_offsets"] for info in infos]
        numbers = [*chain.from_iterable(shapes), *chain.from_iterable(offsets)]
        return (
            {*map(type, infos)} <= {dict}
            and {*map(type, shapes), *map(type, offsets)} <= {list}
            and {*map(len, offsets)} <= {2}
            and {*map(type, numbers)} <= {int}
            and dtypes <= DTYPES
            and 0 <= min(numbers, default=0) <= max(numbers, default=0) < _WORD
        )
    except (KeyError, TypeError):
        return False


def _check_group(name: str, info: Any) -> None:
    try:
        dtype, shape, (low, high) = info["dtype"], info["shape"], info["data_offsets"]
    except (KeyError, TypeError, ValueError) as fault:
        raise CheckpointError(
            f"Expected dtype, shape and data_offsets of group {name!r:.200}, found other keys"
        ) from fault
    if not (type(low) is type(high) is int and 0 <= low < _WORD and 0 <= high < _WORD):
        raise CheckpointError(
            f"Group {name!r:.200} has the data_offsets {low!r:.80} and {high!r:.80}"
        )
    if type(dtype) is not str or dtype not in DTYPES:
        raise CheckpointError(
            f"Group {name!r:.200} has the dtype {dtype!r:.80}, which is none of the known"
        )
    if type(shape) is not list:
        raise CheckpointError(f"Expected a list as the shape of group {name!r:.200}")
    for extent in shape:
        if type(extent) is not int or not 0 <= extent < _WORD:
            raise CheckpointError(f"Group {name!r:.200} has a shape of {extent!r:.80}")


@lru_cache(2**12)  # most groups have one of few shapes
def _count_bits(dtype: str, shape: tuple[int, ...]) -> int:
    """Bits of a group's elements; -1 for more elements than 64 bits can count."""
    count = 1
    for extent in shape:
        count *= extent
        if count >= _WORD:  # also where a later extent is 0, as in the library
            return -1
    return count * BITS[dtype]


def _parse(raw: bytes) -> dict[str, Any]:
    text = str(raw, "utf-8")
    if b"\\" not in raw and b"-0" not in raw:
        quick: dict[str, Any] = json.loads(text, parse_constant=_refuse_constant)
        if raw.count(b":") == _count_colons(quick):
            return quick
    careful: dict[str, Any] = json.loads(
        text,
        object_pairs_hook=_refuse_duplicates,
        parse_int=_parse_int,
        parse_constant=_refuse_constant,
    )
    return careful


def _count_colons(header: dict[str, Any]) -> int:
    """How many colons a header without a duplicate key has; -1 when it is no usual header.

    Each key has one and the texts have the rest, as long as no escape stands for one. A duplicate
    key leaves more in the text than in what was parsed. This takes 2 ms for 50,000 groups, where a
    look at every pair takes 30.
    """
    infos = [info for name, info in header.items() if name != "__metadata__"]
    if {*map(type, infos)} - {dict} or {*map(len, infos)} - {3}:
        return -1
    texts = [*header, *[info.get("dtype") for info in infos]]
    count = len(header) + 3 * len(infos)
    metadata = header.get("__metadata__", {})
    if type(metadata) is not dict:
        return -1
    texts += [*metadata, *metadata.values()]
    if {*map(type, texts)} - {str}:
        return -1
    return count + len(metadata) + "".join(texts).count(":")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has a key twice")
    for key, value in pairs:
        key.encode()  # an escaped half of a surrogate pair is no text: UnicodeEncodeError
        if type(value) is str:
            value.encode()
    return found


def _parse_int(digits: str) -> int:
    if digits == "-0":
        raise ValueError("-0 is no whole number")
    return int(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
