"""Packs that say whatever a test wants: right digests around a wrong content."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Any

import msgpack
import zstandard
from blake3 import blake3

KERNEL = "git-theta-core"
NAMES = [["dense", KERNEL], ["raw", KERNEL], ["planes", KERNEL], ["patch", KERNEL]]
DENSE, RAW, PLANES, PATCH = range(4)


def digest(data: bytes) -> bytes:
    return blake3(data).digest()


def row(data: bytes, stored: bytes | None = None, **changes: Any) -> list[Any]:
    """The row of a payload of one U8 buffer, right unless told otherwise."""
    stored = data if stored is None else stored
    lengths = [len(stored[at : at + 2048]) for at in range(0, len(stored), 2048)]
    fields = {
        "nbytes": len(stored),
        "update": DENSE,
        "params": b"",
        "depth": 1,
        "cost": len(stored),
        "bases": [],
        "parts": [[RAW, "U8", len(data), 2048, lengths]],
        "buffers": [["U8", digest(data), len(data)]],
    }
    fields.update(changes)
    return list(fields.values())


def pack_of(body: bytes, rows: Any, *, names: Any = NAMES) -> bytes:
    """A pack with a directory of rows."""
    return pack_with(body, msgpack.packb([names, rows]))


def pack_with(
    body: bytes, directory: bytes, *, claim: int | None = None, start: int | None = None
) -> bytes:
    """A pack with a directory of any bytes, which may claim another length and another place."""
    frame = zstandard.ZstdCompressor().compress(directory)
    return pack_around(body, frame, len(directory) if claim is None else claim, start)


def pack_around(body: bytes, frame: bytes, claim: int, start: int | None = None) -> bytes:
    """A pack whose compressed directory is given."""
    at = 8 + len(body) if start is None else start
    trailer = struct.pack("<QQ", at, claim) + digest(frame) + b"GTHPEND1"
    return b"GTHPACK1" + body + frame + trailer


def put(folder: Path, data: bytes) -> str:
    """Put a pack under its name into a local store; returns the name."""
    name = hashlib.sha256(data).hexdigest()
    objects = folder / "objects"
    objects.mkdir(parents=True, exist_ok=True)
    (objects / name).write_bytes(data)
    return name
