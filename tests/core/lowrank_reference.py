"""Decodes a low-rank update with Python's integers and fractions alone, from the specification."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import NamedTuple

from git_theta.updates.interface import Update


class Format(NamedTuple):
    width: int
    exponent: int
    mantissa: int
    nan_only: bool = False

    @property
    def bias(self) -> int:
        return 2 ** (self.exponent - 1) - 1

    @property
    def end(self) -> int:
        """The lowest magnitude, as bits, that is no finite number."""
        top = 2**self.exponent - 1 << self.mantissa
        return top + 2**self.mantissa - 1 if self.nan_only else top


FORMATS = {
    "F64": Format(64, 11, 52),
    "F32": Format(32, 8, 23),
    "BF16": Format(16, 8, 7),
    "F16": Format(16, 5, 10),
    "F8_E5M2": Format(8, 5, 2),
    "F8_E4M3": Format(8, 4, 3, nan_only=True),
}


def value(bits: int, kind: Format) -> Fraction | None:
    """What finite bits are; None: they are not."""
    sign, magnitude = bits >> (kind.width - 1), bits & (2 ** (kind.width - 1) - 1)
    if magnitude >= kind.end:
        return None
    exponent, fraction = divmod(magnitude, 2**kind.mantissa)
    whole = fraction + (2**kind.mantissa if exponent else 0)
    found = whole * Fraction(2) ** (max(exponent, 1) - kind.bias - kind.mantissa)
    return -found if sign else found


def rounded(number: Fraction, kind: Format) -> Fraction | None:
    """The nearest value of a float, ties to even; None: it is out of range."""
    step = step_near(abs(number), kind)
    found = round(number / step) * step
    return None if to_bits(abs(found), kind) >= kind.end else found


def step_near(magnitude: Fraction, kind: Format) -> Fraction:
    """The distance of neighbouring floats, without a limit to exponents."""
    least = 1 - kind.bias - kind.mantissa
    power = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    power += magnitude >= Fraction(2) ** power  # now magnitude < 2^power
    return Fraction(2) ** (max(least, power - 1 - kind.mantissa) if magnitude else least)


def to_bits(magnitude: Fraction, kind: Format) -> int:
    step = step_near(magnitude, kind)
    whole = magnitude / step
    assert whole.denominator == 1
    least = Fraction(2) ** (1 - kind.bias - kind.mantissa)
    above = (step / least).numerator.bit_length() - 1
    return (above << kind.mantissa) + int(whole)


def integers(data: bytes, width: int, *, signed: bool) -> list[int]:
    pieces = (data[at : at + width] for at in range(0, len(data), width))
    return [int.from_bytes(piece, "little", signed=signed) for piece in pieces]


def decode(update: Update, base: bytes, dtype: str) -> bytes:
    columns, rank, digits = struct.unpack("<IHB", update.params)
    kind = FORMATS[dtype]
    parts = [bytes(part.data.read(0, part.data.size)) for part in update.parts]
    words = integers(base, kind.width // 8, signed=False)
    rows = len(words) // columns
    scales = integers(parts[0], 2, signed=True)
    entries = integers(parts[1], 2 if digits == 24 else 4, signed=True)
    left, right = entries[: rows * rank], entries[rows * rank :]
    work = FORMATS["F32" if digits == 24 else "F64"]
    predicted = []
    for number, word in enumerate(words):
        row, column = divmod(number, columns)
        total = sum(left[row * rank + k] * right[k * columns + column] for k in range(rank))
        product = total * Fraction(2) ** (scales[row] + scales[rows + column])
        predicted.append(predict(word, product, kind, work, dtype))
    missed = residual(parts[2:], len(words), kind.width // 8)
    out = b""
    where = order(predicted, dtype) if len(parts) == 3 else range(len(words))
    for zigzag, number in zip(missed, where, strict=True):
        step = -(zigzag + 1 >> 1) if zigzag & 1 else zigzag >> 1
        predicted[number] = (predicted[number] + step) % 2**kind.width
    for word in predicted:
        out += word.to_bytes(kind.width // 8, "little")
    return out


def order(predicted: list[int], dtype: str) -> list[int]:
    """The numbers in the order of a residual: those of one exponent together, in each block."""
    shift = {"F64": 52, "F32": 23, "BF16": 7, "F16": 7}.get(dtype, 0)
    mask = {"F64": 0x7FF}.get(dtype, 0xFF if shift else 0x7F)
    keys = [(number >> 18, word >> shift & mask) for number, word in enumerate(predicted)]
    return sorted(range(len(predicted)), key=keys.__getitem__)


def predict(word: int, product: Fraction, kind: Format, work: Format, dtype: str) -> int:
    base = value(word, kind)
    if base is None:
        return word
    total = rounded(base + product, work)
    for narrower in (FORMATS["F32"], kind) if dtype != "F64" else ():
        total = total if total is None else signed_round(total, narrower)
    if total is None:
        return word
    if isinstance(total, NegativeZero):
        return 1 << (kind.width - 1)
    return to_bits(abs(total), kind) | (1 << (kind.width - 1) if total < 0 else 0)


class NegativeZero(Fraction):
    """A negative number that was rounded to zero keeps its sign."""


def signed_round(number: Fraction, kind: Format) -> Fraction | None:
    if isinstance(number, NegativeZero):
        return number
    found = rounded(number, kind)
    return NegativeZero(0) if found == 0 and number < 0 else found


def residual(parts: list[bytes], count: int, width: int) -> list[int]:
    if not parts:
        return [0] * count
    if len(parts) == 1:
        return integers(parts[0], width, signed=False)
    found = [0] * count
    counts, gaps, values = (
        integers(part, size, signed=False) for part, size in zip(parts, (4, 2, width), strict=True)
    )
    told = iter(zip(gaps, values, strict=True))
    for block, changes in enumerate(counts):
        at = block * 2**16 - 1
        for _ in range(changes):
            gap, zigzag = next(told)
            at += gap + 1
            found[at] = zigzag
    return found
