"""Floats as exact binary32 (or binary64) numbers, and rounded back to a dtype's bits.

Widening is exact. Narrowing is round to nearest, ties to even, on integer bits: the same on every
machine and in every version of a library. What becomes no finite number is told by a mask, so NaNs,
whose bits differ between machines, never leave here.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from git_theta.compiled import kernels
from git_theta.dtypes import SCALAR
from git_theta.updates.residual import Bits

Floats = NDArray[Any]
"""Binary32, or binary64 for F64."""

STEP = 2**18
"""Scalars to compute at once: what one step leaves is still in the cache when the next needs it."""


class _Layout(NamedTuple):
    """How a dtype below 32 bits encodes a number: sign, exponent, mantissa."""

    mantissa: int
    """Bits of the mantissa."""
    bias: int
    """Of the exponent."""
    largest: int
    """The bits of the largest finite number."""
    bits: int
    """Bits of a number."""
    signed_zero: bool = True
    """Whether there is a -0; its bits are a NaN otherwise."""


_LAYOUTS = {
    "BF16": _Layout(7, 127, 0x7F7F, 16),
    "F16": _Layout(10, 15, 0x7BFF, 16),
    "F8_E4M3": _Layout(3, 7, 0x7E, 8),
    "F8_E5M2": _Layout(2, 15, 0x7B, 8),
    "F8_E4M3FNUZ": _Layout(3, 8, 0x7F, 8, signed_zero=False),
    "F8_E5M2FNUZ": _Layout(2, 16, 0x7F, 8, signed_zero=False),
}

MANTISSA = {name: layout.mantissa for name, layout in _LAYOUTS.items()} | {"F32": 23, "F64": 52}
"""Bits of the mantissa, by dtype name: the dtypes that this module knows."""


def convertible(one: str, other: str) -> bool:
    """Whether a number of one dtype may be rounded to the other, which is not the same."""
    known = SCALAR.get(one, one) in MANTISSA and SCALAR.get(other, other) in MANTISSA
    return known and one != other and (one in SCALAR) == (other in SCALAR)


def widened(bits: Bits, dtype: str) -> Floats:
    """The exact values of a dtype's numbers; what is infinite or NaN becomes NaN or infinite."""
    if dtype in ("F32", "F64"):
        return bits.view(f"<f{bits.itemsize}")
    if dtype == "BF16":
        if kernels and bits.flags.c_contiguous:
            return kernels.widen_bf16(bits)
        return np.left_shift(bits, 16, dtype="<u4").view("<f4")
    return _values(dtype)[bits]


def narrowed(values: Floats, dtype: str) -> tuple[Bits, NDArray[np.bool_]]:
    """The nearest numbers of a dtype, as bits, and which of them are finite.

    Parameters
    ----------
    values
        Binary32, or binary64, which is rounded to binary32 first (but for F64).
    dtype
        safetensors' name of the dtype, one of :data:`MANTISSA`.

    Returns
    -------
    tuple
        Bits as unsigned integers, of which those of numbers that are not finite, or too large for
        the dtype, mean nothing; and a mask that is true elsewhere.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        values = values.astype("<f8" if dtype == "F64" else "<f4", copy=False)
    if dtype in ("F32", "F64"):
        return values.view(f"<u{values.itemsize}"), np.isfinite(values)
    layout = _LAYOUTS[dtype]
    word = values.view("<u4")
    rounded = _rounded(word & np.uint32(0x7FFFFFFF), layout)
    finite = rounded <= layout.largest
    sign = word >> np.uint32(32 - layout.bits)
    sign &= np.uint32(1 << (layout.bits - 1))
    if not layout.signed_zero:
        sign *= rounded > 0
    rounded |= sign
    return rounded.astype(f"<u{layout.bits // 8}"), finite


def narrow_into(out: Bits, values: Floats, otherwise: Bits, dtype: str) -> None:
    """:func:`narrowed`, into ``out``; where that is not finite, other bits.

    Mostly all of it is, which the sum of the squares tells: then there is less to do.
    """
    if kernels and dtype == "BF16" and values.itemsize == 4:
        kernels.round_bf16(values, otherwise, out)
        return
    if dtype in ("F64", "F32", "BF16"):
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            values = values.astype("<f8" if dtype == "F64" else "<f4", copy=False)
        if np.isfinite(np.vdot(values, values)):
            word = values.view(f"<u{values.itemsize}")
            if dtype == "BF16":  # as _rounded, with the sign, since nothing is carried into it
                rounded = word >> np.uint32(16)
                rounded &= np.uint32(1)
                rounded += word
                rounded += np.uint32(0x7FFF)
                rounded >>= np.uint32(16)
                word = rounded
            out[:] = word
            return
    bits, finite = narrowed(values, dtype)
    out[:] = bits
    if not finite.all():
        np.copyto(out, otherwise, where=~finite)


def _rounded(magnitude: NDArray[np.uint32], layout: _Layout) -> NDArray[np.uint32]:
    """Bits of the nearest number to a binary32 number without its sign; beyond the largest, more.

    Adding just below a half of the last place, and one more where that place is odd, carries into
    it, and on into the exponent, exactly when the number rounds up. So what is infinite or NaN, as
    the greatest of all, becomes more than the largest, too.
    """
    shift, one = np.uint32(23 - layout.mantissa), np.uint32(1)
    rounded: NDArray[np.uint32] = magnitude >> shift
    rounded &= one
    rounded += magnitude
    rounded += (one << (shift - one)) - one
    rounded >>= shift
    if layout.bias == 127:
        return rounded
    tiny = magnitude < np.uint32((128 - layout.bias) << 23)
    rounded -= np.uint32((127 - layout.bias) << layout.mantissa)
    if tiny.any():
        rounded[tiny] = _tiny(magnitude[tiny], layout)
    return rounded


def _tiny(magnitude: NDArray[np.uint32], layout: _Layout) -> NDArray[np.uint32]:
    """As :func:`_rounded`, where what comes out is below the smallest normal number."""
    one, exponent = np.uint32(1), magnitude >> 23
    mantissa = (magnitude & np.uint32(0x7FFFFF)) | np.uint32(0x800000)
    # binary32's own subnormal numbers lie far below half of the smallest: 25 places leave nothing
    shift = np.minimum(np.uint32(23 - layout.mantissa + 128 - layout.bias) - exponent, 25)
    half = (one << (shift - one)) - one
    rounded: NDArray[np.uint32] = (mantissa + half + (mantissa >> shift & one)) >> shift
    return rounded


@cache
def _values(dtype: str) -> NDArray[np.float32]:
    """The values of all numbers of a dtype, by their bits."""
    layout = _LAYOUTS[dtype]
    numbers = np.arange(2 ** (layout.bits - 1), dtype="<u4")
    exponent = (numbers >> layout.mantissa).astype("<i4")
    fraction = (numbers & np.uint32((1 << layout.mantissa) - 1)).astype("<f4")
    fraction += (exponent > 0) * np.float32(1 << layout.mantissa)
    power = np.maximum(exponent, 1) - layout.bias - layout.mantissa
    positive = np.ldexp(fraction, power).astype("<f4")
    positive[layout.largest + 1 :] = np.nan
    values = np.concatenate((positive, -positive))
    if not layout.signed_zero:
        values[len(positive)] = np.nan
    values.flags.writeable = False
    return values
