"""The keys of partitioned variables: name and slice, in bytes that sort as they do.

Source: TensorFlow, ``EncodeTensorNameSlice`` and core/lib/strings/ordered_code.h.
"""

from __future__ import annotations

from git_theta.errors import CheckpointError

_ESCAPES = {(0, 255): 0, (255, 0): 255}
_END = (0, 1)
_FULL = (0, -1)


def is_slice(key: bytes) -> bool:
    """Whether a key is that of a slice."""
    return key.startswith(b"\0")


def slice_name(key: bytes) -> str:
    """What a slice is called here: ``kernel[0:5,:]``.

    Raises
    ------
    CheckpointError
        When the key is malformed.
    """
    try:
        name, at = _read_text(key, 1)
        rank = int.from_bytes(key[at + 1 : at + 1 + key[at]], "big")
        at += 1 + key[at]
        parts = []
        for _ in range(rank):
            start, at = _read_signed(key, at)
            length, at = _read_signed(key, at)
            parts.append(":" if (start, length) == _FULL else f"{start}:{start + length}")
    except (IndexError, ValueError) as fault:
        raise CheckpointError(f"Expected the key of a slice, found {key[:80]!r}") from fault
    if at != len(key):
        raise CheckpointError(f"Expected the key of a slice, found {key[:80]!r}")
    return f"{name.decode('utf-8', 'surrogateescape')}[{','.join(parts)}]"


def _read_text(key: bytes, at: int) -> tuple[bytes, int]:
    text = bytearray()
    while True:
        byte = key[at]
        if byte in (0, 255):
            pair = byte, key[at + 1]
            at += 2
            if pair == _END:
                return bytes(text), at
            text.append(_ESCAPES.get(pair, -1))
        else:
            text.append(byte)
            at += 1


def _read_signed(key: bytes, at: int) -> tuple[int, int]:
    """A number: as many leading bits as it has bytes are ones, or zeros where it is negative."""
    head = key[at] << 8 | (key[at + 1] if at + 1 < len(key) else 0)
    negative = head < 0x8000
    bits = head ^ 0xFFFF if negative else head
    length = 16 - (bits ^ 0xFFFF).bit_length()
    if not 1 <= length <= 10 or at + length > len(key):
        raise ValueError("no number")
    header = ((1 << length) - 1) << (7 * length)
    value = int.from_bytes(key[at : at + length], "big") ^ header
    return value - (1 << 8 * length if negative else 0), at + length
