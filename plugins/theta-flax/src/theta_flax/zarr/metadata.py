"""What ``.zarray`` (zarr 2) and ``zarr.json`` (zarr 3) say of an array.

Only what lays numbers row-major, raw or as a frame of zstd, is told apart; everything else counts
as packed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from math import prod
from typing import Any

from git_theta.checkpoint import MAX_RANK
from git_theta.dtypes import BITS, scalar_bytes
from git_theta.errors import CheckpointError, LimitExceeded
from git_theta.source import Source
from theta_flax.dtypes import DTYPES

FILES = (".zarray", "zarr.json")
"""Names of the files in an array's folder, versions 2 and 3."""

MAX_BYTES = 2**16
"""Bytes of one such file."""

REMEDY = "Save as Orbax does by itself or with use_compression=False, for git-theta to see arrays"
"""What can be done about arrays that are packed."""

ZSTD = "zstd"
"""What both versions call the compressor of which the kernel opens the frames."""

NO_DTYPE = "a dtype without a name"
"""What `ZarrArray.packed` says of numbers that lie raw and that safetensors has no dtype for."""

_NUMPY = {
    "b1": "BOOL",
    **{f"i{n}": f"I{8 * n}" for n in (1, 2, 4, 8)},
    **{f"u{n}": f"U{8 * n}" for n in (1, 2, 4, 8)},
    **{f"f{n}": f"F{8 * n}" for n in (2, 4, 8)},
    **{f"c{n}": f"C{8 * n}" for n in (8, 16)},
}


@dataclass(frozen=True, slots=True)
class Index:
    """Where a shard of zarr 3 has its table of chunks."""

    at_end: bool
    checksum: bool
    """Whether a CRC-32C follows the table."""


@dataclass(frozen=True, slots=True)
class ZarrArray:
    """An array, as one file each for the parts of a regular grid."""

    dtype: str
    """safetensors' name; U8 where it has none, which then is in ``packed``."""
    big_endian: bool
    shape: tuple[int, ...]
    """Elements of the whole array by dimension."""
    stored: tuple[int, ...]
    """Elements of a file's part by dimension."""
    chunk: tuple[int, ...]
    """Elements of a chunk: as ``stored``, or of what a shard is made of."""
    index: Index | None
    """None: a file is one chunk."""
    coding: str
    """How a chunk's numbers lie in the file: "" as they are, or as `Buffer.coding` has it."""
    packed: str
    """What else lies between the numbers and the file's bytes, which then cannot be seen."""
    key: re.Pattern[str]
    """What the files are called, in the array's folder."""
    separator: str
    """What stands between the numbers in those names."""

    @property
    def nbytes(self) -> int:
        """Bytes of a chunk."""
        return prod(self.chunk) * BITS[self.dtype] // 8


def tell_packed(array: str, said: ZarrArray) -> str:
    """Why the numbers of an array are not seen."""
    return f"Expected numbers of {array!r}, raw or as zstd, found them packed ({said.packed})"


def read_bounded(file: Source, name: str) -> bytes:
    """All bytes of one of `FILES`.

    Raises
    ------
    LimitExceeded
        When there are more than such a file needs.
    """
    if file.size > MAX_BYTES:
        raise LimitExceeded(f"Expected at most {MAX_BYTES} bytes in {name}, found {file.size}")
    return bytes(file.read(0, file.size))


def parse_metadata(name: str, text: bytes) -> ZarrArray:
    """Read one of `FILES`.

    Raises
    ------
    CheckpointError
        When it describes no array.
    """
    try:
        found = json.loads(text)
        array = (_read_v2 if name == FILES[0] else _read_v3)(found)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as fault:
        raise CheckpointError(f"Expected an array of zarr in {name}: {fault!r:.200}") from fault
    if not len(array.shape) == len(array.stored) == len(array.chunk):
        raise CheckpointError(f"Expected as many extents of chunks as of the array in {name}")
    if any(part % chunk for part, chunk in zip(array.stored, array.chunk, strict=True)):
        raise CheckpointError(f"Expected shards of whole chunks in {name}")
    return array


def _read_v2(found: Any) -> ZarrArray:
    if found["zarr_format"] != 2:
        raise ValueError("zarr_format is not 2")
    dtype, big_endian = _read_numpy_dtype(found["dtype"])
    shape, chunk = _read_extents(found["shape"], 0), _read_extents(found["chunks"], 1)
    packed = [] if dtype else [NO_DTYPE]
    compressor = None if found["compressor"] is None else str(found["compressor"]["id"])
    coding = "zstd" if compressor == ZSTD else ""
    if compressor and not coding:
        packed.append(compressor[:40])
    if found["filters"]:
        packed.append("filters")
    if found["order"] != "C" and len(shape) > 1:
        packed.append("column-major order")
    separator = found.get("dimension_separator", ".")
    key = _join_key("", separator, len(shape)) if shape else re.compile("0")
    how = (coding, ", ".join(packed))
    return ZarrArray(dtype or "U8", big_endian, shape, chunk, chunk, None, *how, key, separator)


def _read_numpy_dtype(name: Any) -> tuple[str | None, bool]:
    if not isinstance(name, str):  # a record
        return None, False
    if name in DTYPES:  # bfloat16, float8_*
        return DTYPES[name], False
    dtype = _NUMPY.get(name[1:]) if name[:1] in ("<", ">", "|") else None
    return dtype, name[:1] == ">" and dtype is not None and scalar_bytes(dtype) > 1


def _read_v3(found: Any) -> ZarrArray:
    if found["zarr_format"] != 3 or found["node_type"] != "array":
        raise ValueError("no array of zarr_format 3")
    shape = _read_extents(found["shape"], 0)
    grid = found["chunk_grid"]
    if grid["name"] != "regular":
        raise ValueError("no regular grid")
    stored = chunk = _read_extents(grid["configuration"]["chunk_shape"], 1)
    codecs, index = found["codecs"], None
    if len(codecs) == 1 and codecs[0]["name"] == "sharding_indexed":
        shard = codecs[0]["configuration"]
        chunk, codecs = _read_extents(shard["chunk_shape"], 1), shard["codecs"]
        index = _read_index(shard)
    big_endian, packed = _read_codecs(codecs)
    coding = "zstd" if packed == [ZSTD] else ""
    packed = [] if coding else packed
    named = found["data_type"]
    dtype = DTYPES.get(named) if isinstance(named, str) else None
    if dtype is None:
        packed.append(NO_DTYPE)
    big_endian = big_endian and dtype is not None and scalar_bytes(dtype) > 1
    key, separator = _read_key(found["chunk_key_encoding"], len(shape))
    how = (coding, ", ".join(packed))
    return ZarrArray(dtype or "U8", big_endian, shape, stored, chunk, index, *how, key, separator)


def _read_index(shard: Any) -> Index:
    names = [codec["name"] for codec in shard["index_codecs"]]
    big_endian, _ = _read_codecs(shard["index_codecs"][:1])
    if names not in (["bytes"], ["bytes", "crc32c"]) or big_endian:
        raise ValueError("a shard's table in another form than bytes")
    location = shard.get("index_location", "end")
    return Index(at_end={"end": True, "start": False}[location], checksum=len(names) == 2)


def _read_codecs(codecs: Any) -> tuple[bool, list[str]]:
    """Whether numbers are big-endian, and what else is done to them."""
    names = [str(codec["name"])[:40] for codec in codecs]
    options = codecs[names.index("bytes")].get("configuration", {})
    return options.get("endian") == "big", [name for name in names if name != "bytes"]


def _read_key(encoding: Any, rank: int) -> tuple[re.Pattern[str], str]:
    default = {"default": "/", "v2": "."}[encoding["name"]]
    separator = encoding.get("configuration", {}).get("separator", default)
    if encoding["name"] == "v2":
        return (_join_key("", separator, rank) if rank else re.compile("0")), separator
    return _join_key("c", separator, rank), separator


def _join_key(first: str, separator: str, rank: int) -> re.Pattern[str]:
    if separator not in (".", "/"):
        raise ValueError("a separator that is neither a dot nor a slash")
    parts = [first] * bool(first) + [r"(0|[1-9][0-9]{0,17})"] * rank
    return re.compile(re.escape(separator).join(parts))


def _read_extents(extents: Any, least: int) -> tuple[int, ...]:
    if type(extents) is not list or len(extents) > MAX_RANK:
        raise ValueError(f"no list of at most {MAX_RANK} extents")
    if any(type(extent) is not int or not least <= extent < 2**62 for extent in extents):
        raise ValueError("an extent that is no natural number")
    return tuple(extents)
