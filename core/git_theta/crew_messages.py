"""What forked processes and their parent tell each other through pipes, message by message."""

from __future__ import annotations

import os
import pickle
import struct
from contextlib import ExitStack
from typing import Any

FRAME = struct.Struct("<cQ")
"""The kind of a message, and its length in bytes."""
VALUE, BYTES, SLOT, ERROR, END = b"v", b"b", b"s", b"e", b"."

_PIPE = 2**20


def open_pipe(reader: ExitStack, writer: ExitStack) -> tuple[int, int]:
    """A pipe whose ends are closed with those who have them."""
    ends = os.pipe()
    reader.callback(os.close, ends[0])
    writer.callback(os.close, ends[1])
    return ends


def uncleared(nbytes: int) -> memoryview:
    """Room for so many bytes, which a bytearray would clear first."""
    import numpy as np  # not where only values are sent

    return np.empty(nbytes, np.uint8).data


def loaded(data: bytearray | memoryview) -> Any:
    """A value that was sent."""
    return pickle.loads(data) if data else None


def dumped(error: Exception) -> bytes:
    """An exception as a value that can be sent."""
    try:
        data = pickle.dumps(error)
        pickle.loads(data)
    except Exception:  # an exception of a plugin's own
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return data


def send(fd: int, kind: bytes, data: bytes | memoryview) -> None:
    """Write a message, however often that takes."""
    for part in (FRAME.pack(kind, len(data)), data):
        view = memoryview(part)
        while view:
            view = view[os.write(fd, view) :]


def read(fd: int, nbytes: int) -> bytes | None:
    """So many bytes; None where the other end is gone."""
    found = bytearray()
    while len(found) < nbytes:
        data = os.read(fd, nbytes - len(found))
        if not data:
            return None
        found += data
    return bytes(found)


def widen(fd: int) -> None:
    """Have a pipe hold more, where the system lets it."""
    try:
        import fcntl

        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE)
    except (ImportError, AttributeError, OSError):
        pass
