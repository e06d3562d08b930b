"""The datasets of an HDF5 file whose numbers lie in the file as they are.

Anything else (chunked, compressed, compact, text, of a type that git-theta has no name for) is left
to the skeleton: None, not an error. Data that lie in other files are an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from git_theta.checkpoint import MAX_RANK
from git_theta.dtypes import count_bytes
from git_theta.errors import CheckpointError
from theta_tensorflow.hdf5.headers import (
    ATTRIBUTE,
    DATASPACE,
    DATATYPE,
    EXTERNAL_FILES,
    LAYOUT,
    Message,
)
from theta_tensorflow.hdf5.structure import UNDEFINED, Structure, unpack

_FIXED, _FLOAT, _TEXT, _OPAQUE, _ENUM, _ANY_LENGTH = 0, 1, 3, 5, 8, 9
_CONTIGUOUS, _VIRTUAL = 1, 3
_FLOATS = {(2, 5, 10): "F16", (2, 8, 7): "BF16", (4, 8, 23): "F32", (8, 11, 52): "F64"}
"""By bytes, bits of the exponent, bits of the mantissa."""
_NULL = 2


class Dataset(NamedTuple):
    """Numbers that lie in the file, contiguous."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    nbytes: int
    big_endian: bool


class _Type(NamedTuple):
    dtype: str
    big_endian: bool = False


def read_dataset(structure: Structure, messages: Sequence[Message]) -> Dataset | None:
    """The dataset that an object header describes.

    Raises
    ------
    CheckpointError
        When its data lie in another file, or it is malformed.
    """
    said: dict[int, Message] = {}
    for message in messages:
        said.setdefault(message.kind, message)
    if EXTERNAL_FILES in said:
        raise CheckpointError("The numbers of a dataset lie in another file, which is not read")
    place = _read_layout(said[LAYOUT].data) if LAYOUT in said else None
    kinds = [said.get(kind) for kind in (DATASPACE, DATATYPE)]
    space, datatype = kinds
    if not place or not space or not datatype or space.shared or datatype.shared:
        return None
    shape, found = _read_shape(space.data), _read_type(structure, datatype.data, messages)
    if shape is None or found is None:
        return None
    start, nbytes = place
    if count_bytes(found.dtype, shape) != nbytes:
        raise CheckpointError(
            f"Expected {nbytes} bytes for {found.dtype} of shape {list(shape)}, as its layout says"
        )
    if not nbytes:
        start = structure.file.size
    elif start == UNDEFINED:  # nothing was ever written
        return None
    return Dataset(found.dtype, shape, start, nbytes, found.big_endian)


def _read_layout(data: bytes) -> tuple[int, int] | None:
    """First byte and length, of contiguous data only."""
    version, kind = unpack("BB", data)
    if version not in (3, 4):
        return None
    if kind == _VIRTUAL:
        raise CheckpointError("A dataset is a view of other files, which are not read")
    if kind != _CONTIGUOUS:
        return None
    start, nbytes = unpack("QQ", data, 2)
    return start, nbytes


def _read_shape(data: bytes) -> tuple[int, ...] | None:
    version, rank, _, kind = unpack("BBBB", data)
    if version not in (1, 2) or (version == 2 and kind == _NULL) or rank > MAX_RANK:
        return None
    return unpack("Q" * rank, data, 8 if version == 1 else 4)


def _read_type(structure: Structure, data: bytes, messages: Sequence[Message]) -> _Type | None:
    first, bits, _, _, nbytes = unpack("BBBBI", data)
    kind = first & 15
    if kind == _FIXED:
        offset, precision = unpack("HH", data, 8)
        if offset or precision != 8 * nbytes or nbytes not in (1, 2, 4, 8):
            return None
        return _Type(f"{'I' if bits & 8 else 'U'}{8 * nbytes}", bool(bits & 1))
    if kind == _FLOAT:
        offset, precision, _, exponent, _, mantissa = unpack("HHBBBB", data, 8)
        dtype = _FLOATS.get((nbytes, exponent, mantissa))
        if dtype is None or offset or precision != 8 * nbytes or bits & 0x40:
            return None
        return _Type(dtype, bool(bits & 1))
    if kind == _ENUM and nbytes == 1 and _says_truth(data):
        return _Type("BOOL")
    if kind == _OPAQUE and nbytes == 2 and _has_bfloat16(structure, messages):
        return _Type("BF16")
    return None


def _says_truth(data: bytes) -> bool:
    """Whether an enumeration is h5py's bool."""
    return b"FALSE\0" in data and b"TRUE\0" in data and data.rstrip(b"\0").endswith(b"\0\1")


def _has_bfloat16(structure: Structure, messages: Sequence[Message]) -> bool:
    """Whether an attribute says ``dtype`` is ``bfloat16``: so Keras saves what HDF5 lacks."""
    return any(
        message.kind == ATTRIBUTE
        and not message.shared
        and _read_text(structure, message.data) == (b"dtype", b"bfloat16")
        for message in messages
    )


def _read_text(structure: Structure, data: bytes) -> tuple[bytes, bytes]:
    """Name and value of an attribute that is a text; nothing for any other."""
    version, _, name, datatype, space = unpack("BBHHH", data)
    at = 9 if version == 3 else 8
    fields = []
    for nbytes in (name, datatype, space):
        fields.append(data[at : at + nbytes])
        at += (nbytes + 7) // 8 * 8 if version == 1 else nbytes
    kind = unpack("BBBBI", fields[1])[0] & 15
    key, value = fields[0].rstrip(b"\0"), data[at:]
    if kind == _ANY_LENGTH:
        value = _read_heap(structure, value)
    elif kind != _TEXT:
        return b"", b""
    return key, value.rstrip(b"\0")


def _read_heap(structure: Structure, value: bytes) -> bytes:
    """A text that lies in a global heap."""
    nbytes, address, wanted = unpack("IQI", value)
    head = structure.expect(address, b"GCOL", 16)
    end = address + unpack("Q", head, 8)[0]
    at = address + 16
    while at + 16 <= end:
        number, _, _, size = unpack("HHIQ", structure.read(at, 16))
        if number == wanted:
            return structure.read(at + 16, min(nbytes, size))
        if not number:
            break
        at += 16 + (size + 7) // 8 * 8
    return b""
