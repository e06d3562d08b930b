"""Blocks of numbers as models have them, and as they should not: what encoders are tried on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from git_theta.dtypes import BITS, SCALAR

_INFINITY = {"F16": 0x7C00, "BF16": 0x7F80, "F32": 0x7F800000, "F64": 0x7FF0000000000000}


def typical_blocks(dtype: str, nbytes: int) -> Iterator[tuple[str, bytes]]:
    """Blocks of ``nbytes`` bytes each, every one with its description.

    Weights, noise, equal bytes, few values, runs, and NaNs with payloads, signalling ones too.
    """
    rng = np.random.default_rng(nbytes)
    noise = rng.bytes(nbytes)
    few = rng.integers(0, 3, nbytes, np.uint8).tobytes()
    made = {
        "weights": weights(dtype, nbytes),
        "noise": noise,
        "zeros": bytes(nbytes),
        "ones": b"\xff" * nbytes,
        "few values": few,
        "runs": np.repeat(np.frombuffer(few, np.uint8), 50)[:nbytes].tobytes(),
    }
    scalar = SCALAR.get(dtype, dtype)
    if scalar in _INFINITY:
        words = np.frombuffer(noise, f"<u{BITS[scalar] // 8}")
        made["NaNs with payloads"] = (words | words.dtype.type(_INFINITY[scalar])).tobytes()
    for what, block in made.items():
        yield f"{nbytes} bytes of {dtype}, {what}", block


def weights(dtype: str, nbytes: int, *, seed: int = 0) -> bytes:
    """Numbers as a trained layer has them: normal, of the deviation 0.02, or small integers."""
    rng = np.random.default_rng(seed)
    scalar = SCALAR.get(dtype, dtype)
    if scalar == "BF16":
        wide = rng.normal(0, 0.02, nbytes // 2).astype("<f4").view("<u4")
        return (wide >> 16).astype("<u2").tobytes()
    if scalar in _INFINITY:
        width = BITS[scalar] // 8
        return rng.normal(0, 0.02, nbytes // width).astype(f"<f{width}").tobytes()
    if dtype == "BOOL":
        return rng.integers(0, 2, nbytes, np.uint8).tobytes()
    width = max(1, BITS[dtype] // 8)
    numbers = rng.normal(0, 20, nbytes // width).astype(f"<i{width}")
    return numbers.tobytes()


def lengths(dtype: str) -> tuple[int, ...]:
    """Lengths in bytes that whole numbers of ``dtype`` fill: none, one, odd counts, thousands."""
    unit = BITS[dtype] if BITS[dtype] < 8 else BITS[dtype] // 8  # eight numbers below a byte
    return tuple(unit * count for count in (0, 1, 2, 3, 17, 255, 1000, 4099))
