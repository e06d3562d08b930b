"""Storages: what a PyTorch pickle says about the bytes that it keeps outside of itself."""

from __future__ import annotations

from typing import NamedTuple

from git_theta.dtypes import BITS
from git_theta.errors import CheckpointError
from theta_pytorch.pickles.stand_ins import Global, Persistent

DTYPES: dict[str, str] = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
    "complex128": "C128",
    "complex64": "C64",
    "complex32": "C32",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
    "float4_e2m1fn_x2": "F4",
}
"""The dtype names of safetensors by torch's, without aliases."""

_SAVED = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
    "ComplexDoubleStorage": "C128",
    "ComplexFloatStorage": "C64",
}

# torch.jit.save names a type for every dtype; torch.save keeps these in untyped storages.
_SCRIPTED = {
    "ComplexHalfStorage": "C32",
    "UInt64Storage": "U64",
    "UInt32Storage": "U32",
    "UInt16Storage": "U16",
    "Float8_e5m2Storage": "F8_E5M2",
    "Float8_e4m3fnStorage": "F8_E4M3",
    "Float8_e5m2fnuzStorage": "F8_E5M2FNUZ",
    "Float8_e4m3fnuzStorage": "F8_E4M3FNUZ",
    "Float8_e8m0fnuStorage": "F8_E8M0",
    "Float4_e2m1fn_x2Storage": "F4",
}

_STORAGE_TYPES = _SAVED | _SCRIPTED

LEGACY_DTYPES = frozenset(_SAVED.values())
"""The dtypes that torch can load from a file that is no zip: those with typed storages."""

# Without their scales these integers are no weights: their bytes are kept, no group is named.
_QUANTIZED = {
    "QInt8Storage": "I8",
    "QUInt8Storage": "U8",
    "QInt32Storage": "I32",
    "QUInt4x2Storage": "U8",
    "QUInt2x4Storage": "U8",
}

_UNTYPED = ("UntypedStorage", "_UntypedStorage")


ITEMSIZES: dict[str, int] = {dtype: max(1, bits // 8) for dtype, bits in BITS.items()}
"""Bytes of what torch counts as an element, by dtype: one for two F4 numbers."""


class Storage(NamedTuple):
    """A run of bytes that tensors view."""

    key: str
    """Its name in the file."""
    dtype: str
    """safetensors' name of its dtype; U8 where the file tells none."""
    numel: int
    """Elements, as torch counts them."""
    nbytes: int
    """Bytes it takes in the file."""
    typed: bool = True
    """Whether its dtype is that of the tensors that bring none."""
    untyped: bool = False
    """Whether the file tells no dtype, so that the tensors' holds."""
    meta: bool = False
    """Whether it has a size and no bytes."""


class Storages:
    """The storages of one pickle, found by what stands for them in it.

    Parameters
    ----------
    persistent
        What the pickle keeps outside of itself.
    folder
        What comes before the storages' keys in the file.

    Raises
    ------
    CheckpointError
        When a storage is described in a way that torch never does.
    """

    def __init__(self, persistent: list[Persistent], folder: str = "") -> None:
        self.by_key: dict[str, Storage] = {}
        """The storages by key, in the order met."""
        self._folder = folder
        self._found: dict[int, tuple[Persistent, Storage, int]] = {}
        for outside in persistent:
            self._add(outside)

    def find(self, outside: object) -> tuple[Storage, int] | None:
        """The storage that a stand-in is for, and the element of it at which it begins."""
        found = self._found.get(id(outside))
        return found[1:] if found else None

    def _add(self, outside: Persistent) -> None:
        match outside.id:
            case ("storage", Global() as kind, str() as key, location, int() as numel, *view):
                storage = _read_storage(kind.name, self._folder + key, location, numel)
            case ("storage", *_):
                raise CheckpointError(
                    "Expected a storage's type, key, location and size, found others"
                )
            case _:
                return  # a class with its source, in old files
        if storage is None:
            return
        first = self.by_key.setdefault(storage.key, storage)
        # torch keeps what a key stood for first, and does not look where there are no bytes
        storage = first if first.nbytes else storage
        self._found[id(outside)] = (outside, storage, _read_offset(view) if view else 0)


def _read_storage(kind: str, key: str, location: object, numel: int) -> Storage | None:
    if not 0 <= numel < 2**60:
        raise CheckpointError(f"Storage {key!r} claims {numel} elements")
    meta = location == "meta"
    if kind in _UNTYPED:
        return Storage(key, "U8", numel, numel, untyped=True, meta=meta)
    dtype = _STORAGE_TYPES.get(kind) or _QUANTIZED.get(kind)
    if dtype is None:
        return None
    typed = kind in _STORAGE_TYPES
    return Storage(key, dtype, numel, numel * ITEMSIZES[dtype], typed=typed, meta=meta)


def _read_offset(view: list[object]) -> int:
    match view:
        case [(_, int() as offset, int()), *_]:  # how torch 0.3 kept a part of another storage
            return offset
    return 0
