"""The fields of a line of metadata: numbers, digests, names, ranges; each has one spelling.

Every function that reads raises ValueError for what is not that spelling.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from git_theta.checkpoint import MAX_RANK
from git_theta.dtypes import BITS

_BARE = re.compile(r"[!#-\[\]-~]+")  # ASCII alone: what else is printable, Unicode changes
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_SHAPE = re.compile(r"\[(?:(?:0|[1-9][0-9]{0,18})(?:,(?:0|[1-9][0-9]{0,18}))*)?\]")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def quote(name: str) -> str:
    """A group's name as it stands in metadata."""
    if _BARE.fullmatch(name):
        return name
    import json  # seldom needed, and git waits for what is imported

    return json.dumps(name)


def quote_all(names: Sequence[str]) -> Sequence[str]:
    """Groups' names as they stand in metadata."""
    if all(names) and _BARE.fullmatch("".join(names)):  # as nearly always
        return names
    return [quote(name) for name in names]


def unquote(text: str) -> str:
    """A group's name, from how it stands in metadata."""
    if not text.startswith('"'):
        return text
    import json  # as above

    name = json.loads(text)
    if not isinstance(name, str):
        raise ValueError(f"the name {text!r} is no string")
    return name


def split_fields(line: str, count: int, kind: str = "") -> Sequence[str]:
    """The fields behind the first of a line of ``count`` fields."""
    fields = line.split(" ")
    if len(fields) != count or (kind and fields[0] != kind):
        raise ValueError(f"expected a line {kind or fields[0]!r} of {count} fields: {line[:80]!r}")
    return fields[1:]


def _match(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(f"the field {text[:80]!r}")
    return text


def parse_digest(text: str) -> bytes:
    """The bytes of 64 lower-case hex digits."""
    return bytes.fromhex(_match(_DIGEST, text))


def parse_word(text: str) -> str:
    """The name of a format or a distribution, unchanged."""
    return _match(_WORD, text)


def parse_integer(text: str) -> int:
    """A decimal number without leading zeros."""
    return int(_match(_NUMBER, text))


def check_dtype(text: str) -> str:
    """The name of a dtype, unchanged."""
    if text not in BITS:
        raise ValueError(f"the dtype {text[:80]!r}, which this version does not know")
    return text


def check_order(items: Sequence[Any], what: str) -> None:
    """Check that items ascend, each once."""
    if not all(map(operator.lt, items, items[1:])):
        raise ValueError(f"{what} out of order or repeated")


def print_ranges(items: Sequence[int]) -> str:
    """Ascending numbers as ``0,3-17``."""
    ranges: list[list[int]] = []
    for item in items:
        if ranges and item == ranges[-1][1] + 1:
            ranges[-1][1] = item
        else:
            ranges.append([item, item])
    return ",".join(f"{low}-{high}" if low < high else f"{low}" for low, high in ranges)


def parse_ranges(text: str, count: int) -> tuple[int, ...]:
    """The numbers of ``0,3-17``, all below ``count``."""
    items: list[int] = []
    for piece in text.split(","):
        low, _, high = piece.partition("-")
        first, last = parse_integer(low), parse_integer(high or low)
        if last < first or (items and first <= items[-1]) or last >= count:
            raise ValueError(f"the items {text[:80]!r}, expected ascending numbers below {count}")
        items.extend(range(first, last + 1))
    return tuple(items)


@lru_cache(2**12)  # most groups have one of few shapes
def print_shape(shape: tuple[int, ...]) -> str:
    """A shape as ``[2,3]``."""
    return f"[{','.join(map(str, shape))}]"


@lru_cache(2**12)
def parse_shape(text: str) -> tuple[int, ...]:
    """``[2,3]`` as a tuple."""
    if not _SHAPE.fullmatch(text):
        raise ValueError(f"the shape {text[:80]!r}")
    sizes = tuple(map(int, text[1:-1].split(","))) if len(text) > 2 else ()
    if len(sizes) > MAX_RANK:
        raise ValueError(f"a shape of {len(sizes)} dimensions, expected at most {MAX_RANK}")
    return sizes
