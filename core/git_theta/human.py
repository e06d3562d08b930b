"""Numbers as people read them."""

from __future__ import annotations


def human_size(nbytes: int) -> str:
    """A number of bytes: ``90.9 MB``."""
    if nbytes < 1000:
        return f"{nbytes} B"
    value = float(nbytes)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.95 or unit == "TB":
            break
    return f"{value:.1f} {unit}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """How many there are of something: ``1 pack``, ``2 packs``."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"
