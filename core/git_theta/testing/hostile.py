"""Makes damaged copies of valid data, the same ones in every run."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from git_theta.errors import ThetaError

Result = TypeVar("Result")

_HUGE = (
    b"\xff" * 8,
    b"\xff" * 7 + b"\x7f",
    b"\x7f" + b"\xff" * 7,
    b"\x00\x00\x00\x00\x04\x00\x00\x00",
)


def attempt(function: Callable[[], Result], allowed: type[ThetaError], what: str) -> Result | None:
    """Call a function that may raise the one error that it is allowed; None when it did.

    Any other exception fails the test.
    """
    try:
        return function()
    except allowed:
        return None
    except Exception as fault:
        raise AssertionError(
            f"Expected {allowed.__name__} or an answer for {what}, "
            f"found {type(fault).__name__}: {fault}"
        ) from fault


def expect(function: Callable[[], object], error: type[ThetaError], what: str) -> None:
    """Call a function that must raise an error."""
    try:
        found = function()
    except error:
        return
    except Exception as fault:
        raise AssertionError(
            f"Expected {error.__name__} for {what}, found {type(fault).__name__}: {fault}"
        ) from fault
    raise AssertionError(f"Expected {error.__name__} for {what}, found the answer {found!r:.200}")


def truncations(data: bytes, points: int = 200) -> Iterator[tuple[str, bytes]]:
    """Beginnings of ``data``: ``points`` short ones, as many long ones, as many in between."""
    lengths = set(range(min(points, len(data))))
    lengths.update(len(data) - n for n in range(1, min(points, len(data)) + 1))
    lengths.update(len(data) * n // points for n in range(points))
    for length in sorted(lengths):
        yield f"the first {length} of {len(data)} bytes", data[:length]


def damaged(
    data: bytes, count: int = 300, *, where: Sequence[range] = ()
) -> Iterator[tuple[str, bytes]]:
    """Copies of ``data`` with a bit flipped, or with eight bytes that may claim a huge size.

    Damage is done in the ranges ``where`` only, where they are given: to the structure of a file
    and not to its numbers.
    """
    ranges = [part for part in where if part] or [range(len(data))]
    choose = random.Random(len(data))
    for number in range(count if data else 0):
        position = choose.choice(choose.choices(ranges, [len(part) for part in ranges])[0])
        copy = bytearray(data)
        if number % 3:
            copy[position] ^= 1 << choose.randrange(8)
            yield f"a flipped bit in byte {position}", bytes(copy)
        else:
            huge = choose.choice(_HUGE)
            copy[position : position + 8] = huge[: len(data) - position]
            yield f"{huge.hex()} at byte {position}", bytes(copy)


def noise(data: bytes, count: int = 100) -> Iterator[tuple[str, bytes]]:
    """Random bytes behind beginnings of ``data``, which hold its magic number."""
    choose = random.Random(len(data))
    for number in range(count):
        start = data[: choose.choice((0, 1, 2, 4, 8, 10, 16, 64))]
        rest = choose.randbytes(choose.randrange(1, 600))
        yield f"noise {number} behind {len(start)} bytes of a sample", start + rest


def every_damage(data: bytes, count: int) -> Iterator[tuple[str, bytes]]:
    """Truncations, ``count`` damaged copies, and noise."""
    yield from truncations(data)
    yield from damaged(data, count)
    yield from noise(data)
