"""Writes TensorFlow checkpoints by the letter of their format, for tests without TensorFlow."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from google_crc32c import value as crc32c

NUMBERS = {"F32": 1, "F64": 2, "I32": 3, "U8": 4, "I64": 9, "BOOL": 10, "BF16": 14, "F16": 19}
STRING, QINT8 = 7, 11
INTERVAL = 16
"""After so many keys one is written whole."""


class Made(NamedTuple):
    """A tensor of a checkpoint to be made."""

    dtype: int
    """TensorFlow's number."""
    shape: tuple[int, ...]
    data: bytes
    shard: int = 0


class Bundle(NamedTuple):
    """A checkpoint."""

    index: bytes
    shards: tuple[bytes, ...]


def make_bundle(
    tensors: Mapping[str | bytes, Made], *, shards: int = 1, big_endian: bool = False
) -> Bundle:
    """A checkpoint of tensors; an index block for every few of them."""
    files = [b""] * shards
    keys: dict[bytes, bytes] = {b"": header(shards, big_endian)}
    for name, made in sorted((_bytes(name), made) for name, made in tensors.items()):
        keys[name] = entry(made, len(files[made.shard]), masked(made.data))
        files[made.shard] += made.data
    return Bundle(make_table(list(keys.items())), tuple(files))


def header(shards: int, big_endian: bool = False) -> bytes:
    version = field(1, varint(1), 2)
    return (
        field(1, varint(shards))
        + (field(2, varint(1)) if big_endian else b"")
        + field(3, version, 2)
    )


def entry(made: Made, offset: int, crc: int) -> bytes:
    sizes = b"".join(field(2, field(1, varint(size)), 2) for size in made.shape)
    return (
        field(1, varint(made.dtype))
        + field(2, sizes, 2)
        + (field(3, varint(made.shard)) if made.shard else b"")
        + (field(4, varint(offset)) if offset else b"")
        + field(5, varint(len(made.data)))
        + varint(6 << 3 | 5)
        + struct.pack("<I", crc)
    )


def make_table(
    entries: Sequence[tuple[bytes, bytes]], per_block: int = 20, interval: int = INTERVAL
) -> bytes:
    """A table of LevelDB's kind."""
    file, handles = b"", []
    for at in range(0, len(entries), per_block):
        part = entries[at : at + per_block]
        file, handle = _put(file, make_block(part, interval))
        handles.append((part[-1][0], handle))
    file, meta = _put(file, make_block([]))
    file, directory = _put(file, make_block(handles, 1))
    footer = (meta + directory).ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    return file + footer


def make_block(entries: Sequence[tuple[bytes, bytes]], interval: int = INTERVAL) -> bytes:
    data, restarts, last = b"", [], b""
    for number, (key, value) in enumerate(entries):
        shared = 0
        if number % interval:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        else:
            restarts.append(len(data))
        data += varint(shared) + varint(len(key) - shared) + varint(len(value))
        data += key[shared:] + value
        last = key
    restarts = restarts or [0]
    return data + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def masked(data: bytes) -> int:
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF


def varint(value: int) -> bytes:
    data = bytearray()
    while value > 127:
        data.append(value & 127 | 128)
        value >>= 7
    return bytes([*data, value])


def field(number: int, value: bytes, kind: int = 0) -> bytes:
    return varint(number << 3 | kind) + (varint(len(value)) if kind == 2 else b"") + value


def _put(file: bytes, block: bytes, kind: bytes = b"\0") -> tuple[bytes, bytes]:
    handle = varint(len(file)) + varint(len(block))
    return file + block + kind + struct.pack("<I", masked(block + kind)), handle


def _bytes(name: str | bytes) -> bytes:
    return name.encode() if isinstance(name, str) else name
