"""The text of a safetensors header: what it says of each group, by columns.

A header as the safetensors library writes it is read with a regular expression, which takes half
the time of reading JSON. Any other header is read as JSON, group by group; both accept the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

from git_theta.dtypes import BITS
from git_theta.errors import CheckpointError

DTYPES = frozenset(BITS) - {"C32", "C128"}
"""The dtypes that the safetensors library knows."""
WORD = 2**64
"""The library counts in 64 bits; what does not fit there is refused."""

_NUMBER = r"(0|[1-9][0-9]{0,18})"
_GROUP = re.compile(
    r'"([^"\\\x00-\x1f]*)":{"dtype":"([A-Z0-9_]*)",'
    rf'"shape":\[([0-9,]*)\],"data_offsets":\[{_NUMBER},{_NUMBER}\]}}([,}}])'
)
_FIXED = len('"":{"dtype":"","shape":[],"data_offsets":[,]}')
_SHAPE = re.compile(rf"(?:{_NUMBER}(?:,{_NUMBER})*)?")
_METADATA = '{"__metadata__":{'


class Header(NamedTuple):
    """What a header says; a column has a value for each group, in any order of the groups."""

    metadata: dict[str, str]
    """The texts under ``__metadata__``, in their order."""
    names: Sequence[str]
    dtypes: Sequence[str]
    shapes: Sequence[tuple[int, ...]]
    lows: Sequence[int]
    """Where each group's bytes begin, counted from the end of the header."""
    highs: Sequence[int]
    """Where they end."""


def parse_header(text: str) -> Header:
    """Read a header.

    Raises
    ------
    ValueError
        When it is no JSON, or has a key twice.
    CheckpointError
        When it is other JSON than the format asks for.
    """
    return _parse_usual(text) or _parse_json(text)


def _parse_usual(text: str) -> Header | None:
    """A header as the library writes it; None for any other."""
    metadata, at = {}, 1
    if text.startswith(_METADATA):
        found, at = _JSON.raw_decode(text, len(_METADATA) - 1)
        metadata = _check_metadata(found)
        if text[at : at + 1] != ",":
            return None
        at += 1
    rows = _GROUP.findall(text, at)
    end = len(text.rstrip(" "))
    if not rows or sum(map(len, map("".join, rows))) + len(rows) * _FIXED != end - at:
        return None  # there is something besides the groups
    names, dtypes, shapes, lows, highs, marks = zip(*rows, strict=True)
    once = len({*names}) == len(names) and "__metadata__" not in names
    if not once or not DTYPES.issuperset(dtypes) or not all(map(_SHAPE.fullmatch, {*shapes})):
        return None
    if marks[-1] != "}" or "}" in marks[:-1]:
        return None
    sizes = list(map(_read_shape, shapes))
    if max(map(max, filter(None, {*sizes})), default=0) >= WORD:
        return None
    return Header(metadata, names, dtypes, sizes, [*map(int, lows)], [*map(int, highs)])


@lru_cache(2**12)  # most groups have one of few shapes
def _read_shape(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(","))) if text else ()


def _parse_json(text: str) -> Header:
    header = _JSON.decode(text)
    metadata = _check_metadata(header.pop("__metadata__", None))
    rows = [_read_group(name, info) for name, info in header.items()]
    dtypes, shapes, lows, highs = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Header(metadata, [*header], dtypes, shapes, lows, highs)


def _check_metadata(found: Any) -> dict[str, str]:
    if found is None:
        return {}
    if type(found) is not dict or any(type(value) is not str for value in found.values()):
        raise CheckpointError("Expected __metadata__ to map texts to texts")
    return found


def _read_group(name: str, info: Any) -> tuple[str, tuple[int, ...], int, int]:
    try:
        dtype, shape, (low, high) = info["dtype"], info["shape"], info["data_offsets"]
    except (KeyError, TypeError, ValueError) as fault:
        raise CheckpointError(
            f"Expected dtype, shape and data_offsets of group {name!r:.200}, found other keys"
        ) from fault
    if not (type(low) is type(high) is int and 0 <= low < WORD and 0 <= high < WORD):
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
        if type(extent) is not int or not 0 <= extent < WORD:
            raise CheckpointError(f"Group {name!r:.200} has a shape of {extent!r:.80}")
    return dtype, tuple(shape), low, high


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


_JSON = json.JSONDecoder(
    object_pairs_hook=_refuse_duplicates, parse_int=_parse_int, parse_constant=_refuse_constant
)
